-- Arguments: the method, the size of the body in bytes, and the bearer token. Prints the measurements as JSON.

function init(args)
   wrk.method = args[1]
   wrk.headers["Authorization"] = "Bearer " .. args[3]
   local size = tonumber(args[2])
   if size > 0 then
      wrk.headers["Content-Type"] = "application/octet-stream"
      wrk.body = string.rep("x", size)
   end
end

function done(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format(
      '\n{"requests": %d, "seconds": %.6f, "p50": %.3f, "p99": %.3f, "refused": %d, "broken": %d}\n',
      summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
      errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
