"""Every target, by name; each feeds one reader of the product with bytes from outside.

A target returns for any input. It allows the errors that the reader documents and no others; a wrong value, a slow
input, or one that takes much memory is a finding too.
"""

from __future__ import annotations

import file_targets
import model_targets
import network_targets
import ros_targets
from harness import TARGETS

__all__ = ["TARGETS", "file_targets", "model_targets", "network_targets", "ros_targets"]
