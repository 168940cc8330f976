"""A part of the zoo written as source and loaded back; all of it: python tests/models/export_zoo.py"""

import pytest

from catalogue import find
from export_zoo import check


@pytest.mark.parametrize(
    ("library", "name"),
    [
        ("torchvision", "googlenet"),  # its module is hidden by a function of the same name
        ("torchvision", "lraspp_mobilenet_v3_large"),
        ("torchvision", "shufflenet_v2_x0_5"),
        ("transformers", "gpt2"),  # ties, branches, cache objects
        ("transformers", "llama_next_token"),
        ("transformers", "wav2vec2"),  # a parametrized layer in a block that is kept whole
        ("transformers", "mamba"),  # a function defined in a function
        ("ultralytics", "yolov8n"),
    ],
)
def test_it_comes_back_bit_equal(library, name, tmp_path):
    check(find(library, name), tmp_path)
