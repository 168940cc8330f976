"""One model of each file of timm.models, the smallest or one shrunk by its own arguments."""

from __future__ import annotations

import functools
from typing import Any

import timm
import torch
from torch import nn

from catalogue import Entry, images
from fidelity import redraw

# Names alone: built as they are, called at their own input size.
AS_THEY_ARE = """
    botnet26t_256 caformer_s18 coat_lite_mini coatnet_0_224 convit_small convnext_atto cpubone_b0_bfrobust
    cs3darknet_focus_s csatv2 cspnext_s dla34 dpn48b edgenext_small efficientformer_l1 efficientformerv2_s0
    efficientnet_b0 efficientvim_m1 efficientvit_b0 efficientvit_m0 ese_vovnet19b_slim fasternet_s fastvit_s12
    flexivit_small gernet_s ghostnet_050 gmlp_s16_224 hardcorenas_a hgnet_small hiera_small_224 hrnet_w18 iformer_s
    inception_next_atto inception_v3 lcnet_035 lcnetv2_small lowformer_b0 mobilevit_s nf_regnet_b0 pit_s_224
    pvt_v2_b0 regnetv_040 repghostnet_050 repvit_m1_0 res2net50_14w_8s resnest14d resnet18 resnetv2_18 rexnet_100
    selecsls42 sequencer2d_s shvit_s1 skresnet18 starnet_s1 swiftformer_s tiny_vit_5m_224 tnt_s_legacy_patch16_224
    twins_pcpvt_small visformer_small vit_relpos_small_patch16_224 vitamin_small_224 volo_d1_224 xcit_nano_12_p8_224
""".split()

# The others: input size, arguments.
_NARROW = {"embed_dim": 96, "depth": 3, "num_heads": 3}
SHRUNK: dict[str, tuple[int, dict[str, Any]]] = {
    "beit_base_patch16_224": (64, {"img_size": 64, **_NARROW}),
    "cait_xxs24_224": (64, {"img_size": 64, "depth": 3}),
    "convmixer_768_32": (64, {}),
    "crossvit_tiny_240": (240, {}),
    "davit_tiny": (64, {}),
    "deepseek_vit_412m": (84, {"img_size": 84, "embed_dim": 96, "depth": 3, "num_heads": 3}),
    "deit_tiny_patch16_224": (64, {"img_size": 64, "depth": 4}),
    "densenet121": (64, {}),
    "eva02_tiny_patch14_224": (56, {"img_size": 56, "depth": 4}),
    "focalnet_tiny_srf": (64, {}),
    "gcvit_xxtiny": (224, {}),
    "gemma4_vit_167m": (96, {"depth": 3, "embed_dim": 96, "num_heads": 3, "head_dim": 32, "intermediate_size": 192}),
    "hieradet_small": (256, {}),
    "inception_resnet_v2": (96, {}),
    "inception_v4": (96, {}),
    "legacy_seresnet18": (64, {}),
    "legacy_xception": (96, {}),
    "levit_128s": (224, {}),
    "mobilenetv5_base": (128, {}),
    "mvitv2_tiny": (224, {}),
    "naflexvit_base_patch16_parfac_gap": (96, {"embed_dim": 96, "depth": 3, "num_heads": 3}),
    "nasnetalarge": (96, {}),
    "nest_tiny": (224, {}),
    "nextvit_small": (64, {}),
    "pnasnet5large": (96, {}),
    "qwen3_vit_88m": (96, {"img_size": 96, **_NARROW, "pos_embed_grid_size": 6}),
    "rdnet_tiny": (64, {}),
    "samvit_base_patch16_224": (64, {"img_size": 64, "embed_dim": 96, "depth": 3, "num_heads": 3}),
    "swin_tiny_patch4_window7_224": (64, {"img_size": 64, "window_size": 4}),
    "swinv2_cr_tiny_224": (64, {"img_size": 64, "window_size": 2}),
    "swinv2_tiny_window8_256": (64, {"img_size": 64, "window_size": 4}),
    "test_mambaout": (96, {}),
    "tresnet_m": (64, {}),
    "vgg11": (64, {}),
    "vit_tiny_r_s16_p8_224": (64, {"img_size": 64}),
    "xception41p": (96, {}),
}


def make(name: str) -> nn.Module:
    torch.manual_seed(0)
    arguments = SHRUNK[name][1] if name in SHRUNK else {}
    return redraw(timm.create_model(name, pretrained=False, **arguments).eval())


@functools.cache
def _sizes(name: str) -> tuple[int, int]:
    size = SHRUNK[name][0] if name in SHRUNK else timm.models.get_pretrained_cfg(name).input_size[-1]
    return size, size + 32


def file_of(name: str) -> str:
    return timm.models.model_entrypoint(name).__module__.rsplit(".", 1)[1]


def entries() -> list[Entry]:
    return [
        Entry("timm", name, functools.partial(make, name), images(*_sizes(name)), rows=1, other_rows=2)
        for name in sorted([*AS_THEY_ARE, *SHRUNK])
    ]
