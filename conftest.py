"""What a developer measured with autotune must not decide what any test or doctest computes."""

import os

os.environ["MINIVGG_AUTOTUNE"] = "off"
