"""ONNX files from elsewhere: nothing but the file is opened, and what is not of a run is refused."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from actloc.errors import UserError
from actloc.files import sha256_of_file
from actloc.runs import onnx_packages
from actloc.runs.onnx_file import METADATA, OnnxNetwork, OnnxRecord, read_network

RECORD = OnnxRecord("detector", "mine", "1.0", "toy", {"features": [1, 2, 4], "mask": [1, 4]}, {"features.fps": 8.0})


def model(record: Any, operator: str = "Identity", domain: str = "") -> onnx.ModelProto:
    """Gives its features, plus a constant of 0, as `logits`."""
    features = helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, 2, 4])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 2, 4])
    zero = onnx.numpy_helper.from_array(np.zeros(1, np.float32), "zero")
    nodes = [
        helper.make_node("Add", ["features", "zero"], ["sum"]),
        helper.make_node(operator, ["sum"], ["logits"], domain=domain),
    ]
    graph = helper.make_graph(nodes, "toy", [features], [logits], [zero])
    opsets = [helper.make_opsetid("", 18), *([helper.make_opsetid(domain, 1)] if domain else [])]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    if record is not None:
        made.metadata_props.add(key=METADATA, value=json.dumps(record))
    return made


def refusal(made: onnx.ModelProto | bytes) -> str:
    content = made if isinstance(made, bytes) else made.SerializeToString()
    with pytest.raises(UserError) as refused:
        OnnxNetwork(Path("x.onnx"), content)
    assert refused.value.fix == "Write it again: actloc export-onnx RUN x.onnx"
    return refused.value.found


def test_a_file_is_read_with_its_record_and_run(tmp_path: Path) -> None:
    path = tmp_path / "toy.onnx"
    path.write_bytes(model(asdict(RECORD)).SerializeToString())
    network = read_network(path)
    assert network.record == RECORD
    assert network.sha256 == sha256_of_file(path)
    features = torch.arange(8.0).reshape(1, 2, 4)
    found = network(features=features, mask=torch.ones(1, 4, dtype=torch.bool))
    assert list(found) == ["logits"]
    assert torch.equal(found["logits"], features)


def test_weights_in_other_files_are_refused_wherever_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_bytes(bytes(4))

    def elsewhere(tensor: TensorProto) -> None:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="secret")

    made = model(asdict(RECORD))
    elsewhere(made.graph.initializer[0])
    assert "the values of 1 tensors, such as zero, are in another file" in refusal(made)
    made = model(asdict(RECORD))
    inner = model(None).graph
    elsewhere(inner.initializer[0])
    made.graph.node[0].attribute.add(name="body", type=onnx.AttributeProto.GRAPH, g=inner)
    assert "in another file" in refusal(made)


def test_what_is_no_file_of_a_run_is_refused_with_the_reason() -> None:
    good = asdict(RECORD)
    assert "it is no ONNX file" in refusal(b"not at all")
    assert "cannot load it" in refusal(model(good, operator="Unknown"))
    assert "it needs operators of com.example" in refusal(model(good, operator="Read", domain="com.example"))
    assert "it does not say which run it is of" in refusal(model(None))
    assert "its record is damaged" in refusal(model({"run": "toy"}))
    assert "its record is damaged" in refusal(model(3))
    assert "its record is damaged" in refusal(model(good | {"inputs": 4}))
    assert "its inputs are" in refusal(model(good | {"inputs": {"features": [1, 2, 8]}}))


def test_what_differs_from_a_run_is_named_with_both_values() -> None:
    assert RECORD.differences({"features.fps": 8.0}) == []
    assert RECORD.differences({"features.fps": 4.0, "detector": "bmn"}) == [
        "detector: absent in the file, bmn in the run",
        "features.fps: 8.0 in the file, 4.0 in the run",
    ]


def test_a_missing_package_names_the_extra() -> None:
    with pytest.raises(UserError, match="ONNX needs no_such_package, which is not installed here") as refused:
        onnx_packages.check("onnx", "no_such_package")
    assert refused.value.fix == 'Run: pip install "actloc[onnx]"'
