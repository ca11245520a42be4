"""The components of a model with random weights, made from the numbers of its shape.

`pocket.build` writes untrained models with them, and `ops.bench.phases` measures their memory. A checkpoint's own
components come from `checkpoint`, which takes further numbers from its files.
"""

from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from transformers import CLIPVisionConfig, CLIPVisionModel, UMT5Config, UMT5EncoderModel

from contracts.model_shape import INPUT_CHANNELS, LATENT_CHANNELS, ModelShape
from inference.wan.checkpoint.original_layout import CLIP_HEADS


def text_encoder(shape: ModelShape) -> UMT5EncoderModel:
    """Return UMT5's encoder with random weights from torch's global generator, in eval mode."""
    config = UMT5Config(
        vocab_size=shape.text_vocabulary,
        d_model=shape.text_dim,
        d_kv=shape.text_head_dim,
        d_ff=shape.text_ffn_dim,
        num_layers=shape.text_layers,
        num_heads=shape.text_heads,
    )
    return UMT5EncoderModel(config).eval()


def image_encoder(shape: ModelShape) -> CLIPVisionModel:
    """Return CLIP's vision model with random weights from torch's global generator, in eval mode."""
    config = CLIPVisionConfig(
        hidden_size=shape.image_dim,
        projection_dim=shape.image_dim,
        intermediate_size=shape.image_ffn_dim,
        num_hidden_layers=shape.image_layers,
        num_attention_heads=CLIP_HEADS,
        image_size=shape.image_side,
        patch_size=shape.image_patch,
        hidden_act="gelu",
    )
    return CLIPVisionModel(config).eval()


def vae(shape: ModelShape) -> AutoencoderKLWan:
    """Return the VAE with random weights from torch's global generator, in eval mode."""
    return AutoencoderKLWan(
        base_dim=shape.vae_dim, dim_mult=list(shape.vae_dim_mult), num_res_blocks=shape.vae_res_blocks
    ).eval()


def transformer(shape: ModelShape) -> WanTransformer3DModel:
    """Return the transformer with random weights from torch's global generator, in eval mode."""
    return WanTransformer3DModel(
        num_attention_heads=shape.heads,
        attention_head_dim=shape.head_dim,
        in_channels=INPUT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        text_dim=shape.text_dim,
        ffn_dim=shape.ffn_dim,
        num_layers=shape.layers,
        image_dim=shape.image_dim,
        added_kv_proj_dim=shape.dim,
    ).eval()
