"""All faults, in the order in which they are brought upon one running stack."""

import processes_faults
from fault import Fault

FAULTS: list[Fault] = [*processes_faults.FAULTS]
