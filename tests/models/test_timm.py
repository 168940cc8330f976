"""One small network of each of sixty-odd model files of timm, by running: all that must hold."""

import pytest
import torch

from fidelity import check, redraw

timm = pytest.importorskip("timm")

MODELS = """
    botnet26t_256 caformer_s18 coat_lite_mini coatnet_0_224 convit_small convnext_atto cpubone_b0_bfrobust
    cs3darknet_focus_s csatv2 cspnext_s dla34 dpn48b edgenext_small efficientformer_l1 efficientformerv2_s0
    efficientnet_b0 efficientvim_m1 efficientvit_b0 efficientvit_m0 ese_vovnet19b_slim fasternet_s fastvit_s12
    flexivit_small gernet_s ghostnet_050 gmlp_s16_224 hardcorenas_a hgnet_small hiera_small_224 hrnet_w18 iformer_s
    inception_next_atto inception_v3 lcnet_035 lcnetv2_small lowformer_b0 mobilevit_s nf_regnet_b0 pit_s_224
    pvt_v2_b0 regnetv_040 repghostnet_050 repvit_m1_0 res2net50_14w_8s resnest14d resnet18 resnetv2_18 rexnet_100
    selecsls42 sequencer2d_s shvit_s1 skresnet18 starnet_s1 swiftformer_s tiny_vit_5m_224 tnt_s_legacy_patch16_224
    twins_pcpvt_small visformer_small vit_relpos_small_patch16_224 vitamin_small_224 volo_d1_224 xcit_nano_12_p8_224
""".split()


@pytest.mark.parametrize("name", MODELS)
def test_by_running(name):
    torch.manual_seed(0)
    model = redraw(timm.create_model(name, pretrained=False).eval())
    check(model, torch.randn(1, *model.default_cfg["input_size"]), "run", other_batch=2)


def test_sixty_model_files_are_there():
    assert len({timm.models.model_entrypoint(name).__module__ for name in MODELS}) >= 60
