"""Options of a short `a2sg bench`."""

from a2sg.bench.options import Options

OPTIONS = Options(
    device="cpu",
    peers=(),
    rounds=2,
    sample=0.0,
    steps=3,
    reset="soft",
    backends=("reference",),
    elements=(64,),
    dtype="float32",
    search_elements=(512,),
    candidates=12,
    network="vgg16",
    width=1 / 32,
    batch=2,
    ways=("a2sg", "a2sg observed"),
    memory_steps=(1,),
)
