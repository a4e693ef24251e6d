"""QLoRA: the base in 4 bits (nf4), the adapter in float32 (Dettmers et al. 2023, arXiv 2305.14314).

Numbers of nf4 are unpacked for each product, in bfloat16 from compute capability 8.0, in float16 below. The adapter is
evaluated on the quantised base that it was trained on, and served on the same base in half precision.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from character_chatbot.machine.devices import Device
from utils.errors import TrainingError

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig

NF4 = "nf4"
INSTALL = "pip install bitsandbytes==0.50.2"


def is_installed() -> bool:
    """Whether bitsandbytes is there: a machine without a GPU does not need it."""
    return find_spec("bitsandbytes") is not None


def build_quantisation(device: Device) -> BitsAndBytesConfig:
    """How transformers is to load the base. Raises TrainingError: bitsandbytes is not installed."""
    if not is_installed():
        raise TrainingError(
            "a base in 4 bits needs bitsandbytes, which is not installed.",
            remedies=[("Install it", INSTALL), ("Or train without", "--quantise none")],
        )
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=NF4,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=device.dtype,
    )
