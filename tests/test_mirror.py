"""Tests mirror the package: where a module's tests are follows from its name, or is said here."""

import ast

import pytest

from places import ROOT

PACKAGE, TESTS = ROOT / "src" / "a2sg", ROOT / "tests"
SCREEN = 60
"""Lines; a module of more has tests."""
APART = {"support", "peers", "platforms", "packaging", "gpu"}
"""Folders of tests that mirror no component."""

TOGETHER = {
    "adopt/test_adapt.py": "find function swap",
    "adopt/test_count.py": "site",
    "adopt/test_seen.py": "calls layers",
    "adopt/test_spike.py": "gates ramp",
    "bench/test_bench.py": "command lif memory networks peers report search timing train",
    "data/test_apart.py": "apart_child",
    "data/test_augment.py": "draws mix",
    "data/test_digits_events.py": "saccade",
    "data/test_events.py": "frame_cache",
    "data/test_feed.py": "resident",
    "data/test_hdf5.py": "hdf5_child",
    "data/test_images.py": "__init__ encoded folders sources",
    "data/test_untrusted.py": "labels picture",
    "data/test_scenes.py": "ade20k camvid scene_augment",
    "guard/test_steps.py": "buffers skip tally",
    "energy/test_meter.py": "counts synapses",
    "export/test_export.py": "conventions layers neurons nir_graph wiring",
    "export/test_from_graph.py": "nodes",
    "kernels/test_backends.py": "compiled_kinds function fuse inductor",
    "kernels/test_fills.py": "watch",
    "kernels/test_triton.py": "drive triton_bins triton_constants triton_device triton_device_bins"
    " triton_device_products triton_device_sums triton_neuron triton_products triton_sums",
    "kernels/test_triton_moments.py": "triton_device_moments",
    "memory/test_packing.py": "codes",
    "models/test_espikeformer.py": "blocks",
    "models/test_layers_fused.py": "maps residual setting",
    "models/test_models.py": "vgg /registry",
    "models/test_norms_sync.py": "/kernels/normalization",
    "models/test_spikformer.py": "attention",
    "neuron/test_recurrent.py": "integrator",
    "neuron/test_spiking.py": "integer leaky /kernels/reference",
    "peers/test_peers.py": "/adopt/sinabs /adopt/spikingjelly",
    "study/inspect/test_inspection_files.py": "charts page pictures table"
    " /study/files /study/html /study/subject",
    "study/measure/test_curvature.py": "curvature_results estimators gram objective operators",
    "study/measure/test_fidelity.py": "noise",
    "study/measure/test_sharpness.py": "directions",
    "study/measure/test_variation.py": "batches probe",
    "study/inspect/test_inspection.py": "/study/measure/diagnosis /study/measure/moments",
    "study/report/test_analysis.py": "cases curvature energy fidelity files landscape page panel"
    " gain prediction runs search theory variation /study/run",
    "surrogate/test_shape.py": "affine smooth",
    "test_cli.py": "commands/analyze commands/train",
    "test_core_alone.py": "__init__ analysis",
    "test_extending.py": "imports listing /training/policies",
    "training/test_compare.py": "tables",
    "training/test_graphs.py": "recorder",
    "training/test_launch.py": "/children",
    "training/test_losses.py": "regularizers",
    "training/test_optimizer.py": "build",
    "training/test_options.py": "config fields",
    "training/test_profile.py": "kinds phases profile_report",
    "training/test_recipe.py": "plain",
    "training/test_run.py": "task",
    "window/test_adaptive.py": "history observer solve",
    "window/test_policy_calibrate.py": "/modes",
}
"""Modules of the same component (with a slash: of another) that a file tests with its own."""

FILES = sorted(TESTS.rglob("test_*.py"))
LONG = {
    str(module.relative_to(PACKAGE).with_suffix("")): module
    for module in sorted(PACKAGE.rglob("*.py"))
    if len(module.read_text(encoding="utf-8").splitlines()) > SCREEN
}
TOLD = [
    name[1:] if name.startswith("/") else f"{file.rpartition('/')[0]}/{name}".lstrip("/")
    for file, names in TOGETHER.items()
    for name in names.split()
]


def of_its_own(module):
    """Test files with the module's name or more words; a component's own file is that of its `__init__`."""
    path = module.parent if module.stem == "__init__" else module.with_suffix("")
    folder = TESTS / module.relative_to(PACKAGE).parent
    return [*folder.glob(f"test_{path.name}.py"), *folder.glob(f"test_{path.name}_*.py")]


@pytest.mark.parametrize("name", LONG)
def test_a_long_module_has_tests(name):
    assert bool(of_its_own(LONG[name])) != (name in TOLD), "a file of its own, or a word in the table"


def test_the_table_names_what_is_there():
    assert not [file for file in TOGETHER if not (TESTS / file).is_file()]
    assert not [name for name in TOLD if name not in LONG]
    assert len(TOLD) == len(set(TOLD))


def test_folders_are_those_of_the_package():
    components = {file.parent.relative_to(TESTS) for file in FILES if APART.isdisjoint(file.parts)}
    assert not [component for component in components if not (PACKAGE / component).is_dir()]


def test_no_test_module_imports_another():
    names = {file.stem for file in FILES}
    assert len(names) == len(FILES), "two files have one name"
    for file in [*FILES, *(TESTS / "support").glob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            imported += [node.module] if isinstance(node, ast.ImportFrom) else []
            assert not names & set(imported), file
