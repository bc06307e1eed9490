"""A service in a module that only its own fork server imports."""

import os

from supervised_service import probed

heavy = probed("heavy", os.getpid())
