"""All faults, in the order in which they are brought upon one running stack."""

import network_faults
import postgres_faults
import process_faults
import redis_faults
from fault import Fault

FAULTS: list[Fault] = [*process_faults.FAULTS, *postgres_faults.FAULTS, *redis_faults.FAULTS, *network_faults.FAULTS]
