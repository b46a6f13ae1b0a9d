# What all our own runs share: logs, checkpoints, seeds.
custom_imports = dict(imports=["cutmix_dense.training", "cutmix_dense.evaluation"], allow_failed_imports=False)
default_scope = "mmengine"
randomness = dict(seed=0)
default_hooks = dict(
    logger=dict(type="LoggerHook", interval=20),
    # Not 1: the old checkpoint is removed before the new one is written.
    checkpoint=dict(type="CheckpointHook", interval=1, max_keep_ckpts=2),
)
custom_hooks = [
    dict(type="cutmix_dense.SeedHook"),
    dict(type="SyncBuffersHook"),  # several processes: what is saved and evaluated has everybody's batch statistics
    dict(type="cutmix_dense.MetricsFileHook"),
    dict(type="cutmix_dense.ValidateOnResumeHook"),
]
# Further backends: dict(type="TensorboardVisBackend"), dict(type="WandbVisBackend", init_kwargs=dict(project=...)).
visualizer = dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")])
env_cfg = dict(cudnn_benchmark=False, mp_cfg=dict(mp_start_method="fork", opencv_num_threads=1))
log_processor = dict(type="LogProcessor", window_size=20, by_epoch=True)
log_level = "INFO"
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
