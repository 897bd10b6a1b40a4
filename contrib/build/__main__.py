"""``python3 runc …``."""

import _runc_start

_runc_start.again()
