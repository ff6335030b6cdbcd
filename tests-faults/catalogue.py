"""All faults, in the order in which they are injected into one running stack."""

import certificate_faults
import key_faults
import machine_faults
import network_faults
import postgres_faults
import process_faults
import redis_faults
import update_faults
from fault import Fault

FAULTS: list[Fault] = [
    *process_faults.FAULTS,
    *postgres_faults.FAULTS,
    *redis_faults.FAULTS,
    *machine_faults.FAULTS,
    *certificate_faults.FAULTS,
    *key_faults.FAULTS,
    *update_faults.FAULTS,
    *network_faults.FAULTS,
]

# The short form: one fault of each kind, where it has the most effect.
SHORT = {
    "auth-service-1-stopped-3s",
    "user-service-1-stopped-3s",
    "gateway-1-stopped-3s",
    "auth-service-stopped-3s",
    "user-service-stopped-3s",
    "postgres-stopped-3s",
    "auth-service-1-killed",
    "gateway-1-killed",
    "postgres-killed",
    "gateway-worker-stopped",
    "sessions-locked",
    "postgres-without-connections",
    "postgres-read-only",
    "postgres-disk-full",
    "postgres-failover",
    "log-disk-full",
    "log-reader-stopped",
    "redis-full",
    "auth-service-1-clock-days-ahead",
    "signing-keys-replaced-at-once",
    "auth-service-stopped-in-turn",
    "certificate-expired",
    "rolling-update",
    "names-silent",
    "gateway-to-auth-service-1-cut-forth",
    "gateway-to-auth-service-1-half-open",
    "auth-service-to-postgres-half-open",
    "auth-service-to-postgres-replies-lost",
}
