# Losses that know: each instance counts by how much of it shows and by its share of a blend, and what the mix filtered
# is neither an object nor background. Every mix writes weights, so that all batches have the same keys.
_base_ = "fcos-small_bccd_baseline.py"

_common = dict(on_filtered="ignore", instance_weights=True)
model = dict(
    weighing=dict(by=["visibility", "weight"]),
    data_preprocessor=dict(
        mix=dict(
            type="RandomMix",
            transforms=[dict(type="CutMix", p=0.5, **_common), dict(type="MixUp", alpha=1.5, p=0.5, **_common)],
        )
    ),
)
