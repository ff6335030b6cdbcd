"""All faults, in the order in which they are brought upon one running stack."""

import certificate_faults
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
    *update_faults.FAULTS,
    *network_faults.FAULTS,
]
