# The images, one target each: gateway, auth-service, user-service, and port, which holds the gateways' public port.
#
# A service's image contains its own locked requirements and source, and nothing of the others. Stages that rarely
# change come first: a change of source copies two directories and installs nothing.

ARG PYTHON_IMAGE=python:3.13-slim-trixie
FROM ${PYTHON_IMAGE} AS python
ENV PYTHONUNBUFFERED=1


FROM python AS installer
WORKDIR /build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CACHE_DIR=/cache
RUN python -m venv --without-pip /opt/parley
# Wheels only, so no stage needs a compiler. `--require-hashes` refuses packages that are not in the lock file.
ENV INSTALL="python -m pip --python /opt/parley/bin/python install --quiet --require-hashes --no-deps --only-binary :all:"

FROM installer AS gateway-requirements
COPY requirements-gateway.lock requirements.lock
RUN --mount=type=cache,target=/cache $INSTALL -r requirements.lock

FROM installer AS auth-service-requirements
COPY requirements-auth-service.lock requirements.lock
RUN --mount=type=cache,target=/cache $INSTALL -r requirements.lock

FROM installer AS user-service-requirements
COPY requirements-user-service.lock requirements.lock
RUN --mount=type=cache,target=/cache $INSTALL -r requirements.lock


# Compiled here, because running containers are read-only, and each start would compile everything again.
FROM python AS source
COPY libs/servicekit/src /source/servicekit
COPY gateway/src /source/gateway
COPY auth-service/src /source/auth-service
COPY user-service/src /source/user-service
RUN python -m compileall -q --invalidation-mode unchecked-hash -s /source -p /app /source


FROM python AS service
# USER is a number, so that an orchestrator can tell that it is not root. `make secrets` uses the same one.
ENV PATH=/opt/parley/bin:$PATH PYTHONPATH=/app PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
STOPSIGNAL SIGTERM


# A single file: while it and Python stay the same, so does the image, and its container is not replaced.
FROM service AS port
COPY gateway/src/gateway/hold_port.py /app/gateway/
ENV GATEWAY_HOST=0.0.0.0
USER 10001:10001
EXPOSE 8080
CMD ["python", "-m", "gateway.hold_port"]


FROM service AS release
LABEL org.opencontainers.image.version=0.1.0


FROM release AS gateway
COPY --from=gateway-requirements /opt/parley /opt/parley
COPY --from=source /source/servicekit /source/gateway /app/
ENV GATEWAY_HOST=0.0.0.0
USER 10001:10001
EXPOSE 8080
CMD ["python", "-m", "gateway"]


FROM release AS auth-service
COPY --from=auth-service-requirements /opt/parley /opt/parley
COPY --from=source /source/servicekit /source/auth-service /app/
ENV AUTH_HOST=0.0.0.0
USER 10001:10001
EXPOSE 8081
CMD ["python", "-m", "auth_service", "serve"]


FROM release AS user-service
COPY --from=user-service-requirements /opt/parley /opt/parley
COPY --from=source /source/servicekit /source/user-service /app/
ENV USERS_HOST=0.0.0.0
USER 10001:10001
EXPOSE 8082
CMD ["python", "-m", "user_service", "serve"]
