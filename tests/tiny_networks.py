"""Tiny random networks in folders, as users download large ones; made by transformers."""

import torch
import transformers as hf


VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "a", "the", "leaf", "cup"]


def save(folder, *parts):
    """Write models and processors to a folder; returns its name."""
    hf.utils.logging.disable_progress_bar()
    for part in parts:
        part.save_pretrained(folder)
    return str(folder)


def backbone():
    return hf.Dinov2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14,
        out_features=["stage1", "stage2"], apply_layernorm=False, reshape_hidden_states=False,
    )  # fmt: skip


def depth_anything(folder, meters, kind="metric"):
    """A Depth-Anything that sees the same distance everywhere."""
    config = hf.DepthAnythingConfig(
        backbone_config=backbone(), patch_size=14, reassemble_hidden_size=32,
        reassemble_factors=[2, 1], neck_hidden_sizes=[8, 8], fusion_hidden_size=8,
        head_hidden_size=8, depth_estimation_type=kind, max_depth=20,
    )  # fmt: skip
    model = hf.DepthAnythingForDepthEstimation(config)
    last = model.head.conv3
    torch.nn.init.zeros_(last.weight)
    # metric: 20 m times a sigmoid
    torch.nn.init.constant_(last.bias, torch.logit(torch.tensor(meters / 20)).item())
    processor = hf.DPTImageProcessorPil(
        size={"height": 28, "width": 28}, ensure_multiple_of=14, keep_aspect_ratio=True
    )
    return save(folder, model, processor)


def depth_pro(folder, inverse, fov):
    """A Depth Pro that sees the same canonical inverse depth everywhere, and a field of view."""
    part = hf.Dinov2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=8,
        use_mask_token=False,
    )  # fmt: skip
    config = hf.DepthProConfig(
        patch_size=16, fusion_hidden_size=8, intermediate_hook_ids=[1, 0],
        intermediate_feature_dims=[8, 8], scaled_images_feature_dims=[8, 8, 8],
        merge_padding_value=1, use_fov_model=True, num_fov_head_layers=0,
        image_model_config=part.to_dict(), patch_model_config=part.to_dict(),
        fov_model_config=part.to_dict(),
    )  # fmt: skip
    model = hf.DepthProForDepthEstimation(config)
    for layer, value in ((model.head.layers[-2], inverse), (model.fov_model.head.layers[-1], fov)):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.constant_(layer.bias, value)
    return save(folder, model)


def sam(folder, *, whole=False):
    """A SAM; whole: whether its masks are the whole image, else they are random."""
    config = hf.SamConfig(
        vision_config=hf.SamVisionConfig(
            hidden_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=64, patch_size=8,
            output_channels=16, num_pos_feats=8, window_size=4, global_attn_indexes=[0], mlp_dim=64,
        ),
        prompt_encoder_config=hf.SamPromptEncoderConfig(
            hidden_size=16, image_size=64, patch_size=8, mask_input_channels=4
        ),
        mask_decoder_config=hf.SamMaskDecoderConfig(
            hidden_size=16, mlp_dim=32, num_attention_heads=2, iou_head_hidden_dim=16
        ),
    )  # fmt: skip
    processor = hf.SamProcessor(
        hf.SamImageProcessorPil(
            size={"longest_edge": 64}, mask_size={"longest_edge": 16},
            pad_size={"height": 64, "width": 64}, mask_pad_size={"height": 16, "width": 16},
        )
    )  # fmt: skip
    model = hf.SamModel(config)
    if whole:
        everywhere(model.mask_decoder)
    return save(folder, model, processor)


def everywhere(decoder):
    """Make a mask decoder say yes at each pixel: products of two constants."""
    for layer in (decoder.upscale_conv2, *(m.proj_out for m in decoder.output_hypernetworks_mlps)):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.ones_(layer.bias)


SAM_2_VISION = hf.Sam2VisionConfig(
    backbone_config=hf.Sam2HieraDetConfig(
        hidden_size=8, image_size=[64, 64], blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[8, 16, 32, 64], num_attention_heads_per_stage=[1, 1, 1, 1],
        window_size_per_stage=[4, 4, 4, 4], global_attention_blocks=[3],
        window_positional_embedding_background_size=[4, 4],
    ),
    backbone_channel_list=[64, 32, 16, 8], fpn_hidden_size=16,
    backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]],
)  # fmt: skip


def sam_2(folder, *, whole=False):
    config = hf.Sam2Config(
        vision_config=SAM_2_VISION,
        prompt_encoder_config=hf.Sam2PromptEncoderConfig(hidden_size=16, image_size=64),
        mask_decoder_config=hf.Sam2MaskDecoderConfig(
            hidden_size=16, mlp_dim=32, num_attention_heads=2, iou_head_hidden_dim=16
        ),
    )  # fmt: skip
    model = hf.Sam2Model(config)
    if whole:
        everywhere(model.mask_decoder)
    return save(folder, model)


def sam_2_video(folder):
    """Memories have 64 channels in the library's code: the rest has to be wider."""
    config = hf.Sam2VideoConfig(
        vision_config=hf.Sam2VisionConfig(**SAM_2_VISION.to_dict() | {"fpn_hidden_size": 128}),
        prompt_encoder_config=hf.Sam2VideoPromptEncoderConfig(hidden_size=128, image_size=64),
        mask_decoder_config=hf.Sam2VideoMaskDecoderConfig(
            hidden_size=128, mlp_dim=32, num_attention_heads=2, iou_head_hidden_dim=16
        ),
        image_size=64, memory_attention_hidden_size=128, memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=32, memory_attention_rope_feat_sizes=[4, 4],
        memory_encoder_hidden_size=128, mask_downsampler_embed_dim=128, memory_fuser_embed_dim=128,
        memory_fuser_intermediate_dim=32, memory_fuser_num_layers=1,
    )  # fmt: skip
    return save(folder, hf.Sam2VideoModel(config))


def grounding_dino(folder):
    vocabulary = folder / "vocab.txt"
    folder.mkdir()
    vocabulary.write_text("\n".join(VOCABULARY))
    config = hf.GroundingDinoConfig(
        backbone_config=hf.SwinConfig(
            image_size=32, patch_size=4, embed_dim=8, depths=[1, 1, 1], num_heads=[1, 2, 2],
            window_size=4, out_features=["stage1", "stage2", "stage3"],
        ),
        text_config=hf.BertConfig(
            vocab_size=len(VOCABULARY), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=32, max_position_embeddings=64,
        ),
        num_queries=6, encoder_layers=1, decoder_layers=2, d_model=32, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_text_len=16,
        num_feature_levels=4,
    )  # fmt: skip
    processor = hf.GroundingDinoProcessor(
        hf.GroundingDinoImageProcessorPil(size={"shortest_edge": 48, "longest_edge": 64}),
        hf.BertTokenizer(str(vocabulary)),
    )
    return save(folder, hf.GroundingDinoForObjectDetection(config), processor)
