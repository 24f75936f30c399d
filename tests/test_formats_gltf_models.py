"""Models of others: what is read of them can be written, and comes back equal."""

import base64
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.color import srgb_from_linear
from pipeline.errors import InputError
from pipeline.formats import gltf_atlas
from pipeline.formats.glb import unpack
from pipeline.formats.gltf import read_gltf, write_glb
from pipeline.formats.gltf_atlas import merge_materials
from pipeline.geometry.tangents import mikktspace_tangents
from pipeline.raster.cpu import CpuRasterizer
from pipeline.raster.rasterizer import Sampling
from pipeline.scene import Asset, Material, Mesh

STEP = 1 / 255


def square(*, uv_from=0.0, uv_to=1.0):
    """A unit square in the xy plane, facing +z, with u along +x and v downwards along -y."""
    corners = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    uvs = torch.stack([corners[:, 0], 1 - corners[:, 1]], 1) * (uv_to - uv_from) + uv_from
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    return Mesh(vertices=corners, faces=faces, uvs=uvs, uv_faces=faces)


def facing_z(mesh):
    return torch.tensor([0.0, 0.0, 1.0]).expand(len(mesh.vertices), 3)


def noise(height, width, seed, *, normal=False, **how):
    rng = torch.Generator().manual_seed(seed)
    base, orm, slope = torch.rand(3, height, width, 3, generator=rng)
    slope = torch.nn.functional.normalize(slope + torch.tensor([-0.5, -0.5, 1.0]), dim=-1) * 0.5 + 0.5
    return Material(base_color=base, orm=orm, normal=slope if normal else None, **how)


def assert_equal(read, expected):
    """Equal surface and tangents, and maps that differ by 8-bit rounding."""
    mesh, other = read.asset.mesh, expected.asset.mesh
    assert torch.equal(mesh.vertices[mesh.faces], other.vertices[other.faces])
    assert torch.equal(mesh.uvs[mesh.uv_faces], other.uvs[other.uv_faces])
    torch.testing.assert_close(read.normals[mesh.faces], expected.normals[other.faces], atol=1e-6, rtol=0)
    if expected.tangents is not None:
        torch.testing.assert_close(read.tangents, expected.tangents, atol=1e-6, rtol=0)
    assert_maps_equal(read.asset.material, expected.asset.material)


def assert_maps_equal(material, other):
    assert (material.wrap, material.double_sided) == (other.wrap, other.double_sided)
    maps = [(srgb_from_linear(m.base_color), m.orm, m.normal) for m in (material, other)]
    for ours, theirs in zip(*maps, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs, atol=0.5 * STEP + 1e-5, rtol=0)


@pytest.mark.parametrize(("name", "triangles"), [("a_boombox", 6036), ("a_cabinet", 2227)])
def test_benchmark_models_come_back_equal(recon_data, tmp_path, validate, name, triangles):
    read = read_gltf(recon_data / name / "mesh.glb")
    assert len(read.asset.mesh.faces) == triangles
    assert read.tangents is None and read.asset.material.normal is not None and read.asset.material.wrap
    assert read.asset.material.double_sided == (name == "a_cabinet")
    written = write_glb(read.asset, read.normals, tmp_path / "a.glb")
    assert (written.triangles, written.degenerate) == (triangles, 0)
    again = read_gltf(tmp_path / "a.glb")
    assert_equal(again, read)
    computed = mikktspace_tangents(read.asset.mesh, read.normals)
    torch.testing.assert_close(again.tangents, computed, atol=1e-5, rtol=0)  # normals were brought to unit length
    assert validate(tmp_path / "a.glb")["issues"]["messages"] == []


def as_json(glb, target, edit=lambda document: None):
    """A GLB file as .gltf with its buffer and images as data URIs."""
    text, binary = unpack(glb.read_bytes(), glb)
    document = json.loads(text)

    def inline(data, kind):
        return f"data:{kind};base64," + base64.b64encode(data).decode()

    for image in document["images"]:
        view = document["bufferViews"][image.pop("bufferView")]
        start = view.get("byteOffset", 0)
        image["uri"] = inline(binary[start : start + view["byteLength"]], image.pop("mimeType"))
    document["buffers"][0]["uri"] = inline(binary, "application/octet-stream")
    edit(document)
    target.write_text(json.dumps(document))
    return target


def test_json_with_data_uris_reads_as_the_glb_does(tmp_path):
    mesh = square()
    write_glb(Asset(mesh=mesh, material=noise(8, 16, 0, normal=True)), facing_z(mesh), tmp_path / "a.glb")
    assert_equal(read_gltf(as_json(tmp_path / "a.glb", tmp_path / "a.gltf")), read_gltf(tmp_path / "a.glb"))
    for kind in ("buffers", "images"):
        bad = as_json(tmp_path / "a.glb", tmp_path / "b.gltf", lambda d, k=kind: d[k][0].update(uri="../a.glb"))
        with pytest.raises(InputError, match=r"b\.gltf: refers to another file .*self-contained"):
            read_gltf(bad)
    (tmp_path / "c.gltf").write_text('{"asset": ')
    with pytest.raises(InputError, match=r"c\.gltf: holds broken JSON"):
        read_gltf(tmp_path / "c.gltf")


@pytest.mark.parametrize("wrap", [False, True])
def test_wrapping_and_both_sides_come_back(tmp_path, wrap):
    mesh = square(uv_to=2.0)
    material = noise(8, 8, 1, wrap=wrap, double_sided=wrap)
    write_glb(Asset(mesh=mesh, material=material), facing_z(mesh), tmp_path / "a.glb")
    assert_maps_equal(read_gltf(tmp_path / "a.glb").asset.material, material)


def test_mirrored_repeats_are_refused_where_they_matter(tmp_path):
    for uv_to, matters in ((1.0, False), (1.5, True)):
        mesh = square(uv_to=uv_to)
        write_glb(Asset(mesh=mesh, material=noise(8, 8, 1)), facing_z(mesh), tmp_path / "a.glb")
        path = as_json(tmp_path / "a.glb", tmp_path / "a.gltf", lambda d: d["samplers"][0].update(wrapT=33648))
        if matters:
            with pytest.raises(InputError, match="mirrors its textures"):
                read_gltf(path)
        else:
            read_gltf(path)


def test_the_scale_of_a_normal_map_multiplies_its_slopes(tmp_path):
    mesh, material = square(), noise(4, 4, 2, normal=True)
    write_glb(Asset(mesh=mesh, material=material), facing_z(mesh), tmp_path / "a.glb")

    def halve(document):
        document["materials"][0]["normalTexture"]["scale"] = 0.5

    scaled = read_gltf(as_json(tmp_path / "a.glb", tmp_path / "a.gltf", halve)).asset.material.normal * 2 - 1
    stored = material.normal * 2 - 1
    torch.testing.assert_close(
        scaled[..., :2] / scaled[..., 2:], 0.5 * stored[..., :2] / stored[..., 2:], atol=0.02, rtol=0
    )
    torch.testing.assert_close(scaled.norm(dim=-1), torch.ones(4, 4))


def test_a_mirroring_node_turns_the_bitangent(tmp_path):
    mesh = square()
    write_glb(Asset(mesh=mesh, material=noise(4, 4, 2, normal=True)), facing_z(mesh), tmp_path / "a.glb")

    def mirror(document):
        document["nodes"][0]["scale"] = [-2, 1, 1]

    read = read_gltf(as_json(tmp_path / "a.glb", tmp_path / "a.gltf", mirror))
    torch.testing.assert_close(read.tangents, torch.tensor([-1.0, 0, 0, -1]).expand(2, 3, 4))
    torch.testing.assert_close(read.tangents, mikktspace_tangents(read.asset.mesh, read.normals))


def look_up(material, uv):
    """Base colour, orm and normal at coordinates; flat where there is no normal map."""
    flat = torch.tensor([0.5, 0.5, 1.0]).expand_as(material.base_color)
    maps = torch.cat([material.base_color, material.orm, flat if material.normal is None else material.normal], -1)
    where = torch.as_tensor(uv, dtype=torch.float32)[None, None]
    return CpuRasterizer().texture(maps[None], where, sampling=Sampling(wrap=material.wrap))[0, 0]


def test_an_atlas_looks_like_its_materials():
    materials = [
        noise(32, 64, 0, normal=True, wrap=True),
        noise(1, 1, 1),
        noise(40, 24, 2, double_sided=True),
        noise(16, 16, 3, wrap=True),
    ]
    rng = np.random.default_rng(0)
    ranges = [(-0.3, 2.2), (-50.0, 50.0), (-0.2, 1.1), (5.1, 5.9)]
    uvs = [rng.uniform(low, high, (500, 2)) for low, high in ranges]
    merged, placed = merge_materials(materials, uvs, Path("a.glb"))
    assert merged.double_sided and not merged.wrap and merged.base_color.shape[:2] == (256, 256)
    for material, before, after in zip(materials, uvs, placed, strict=True):
        assert after.min() > 0 and after.max() < 1
        torch.testing.assert_close(look_up(merged, after), look_up(material, before), atol=1e-3, rtol=0)


def test_an_atlas_that_grows_too_large_is_halved_then_refused(monkeypatch):
    monkeypatch.setattr(gltf_atlas, "MAX_SIDE_PX", 128)
    grey = [Material(base_color=torch.full((256, 128, 3), v), orm=torch.ones(256, 128, 3)) for v in (0.25, 0.75)]
    uvs = [np.random.default_rng(0).uniform(0, 1, (9, 2))] * 2
    merged, placed = merge_materials(grey, uvs, Path("a.glb"))
    assert max(merged.base_color.shape[:2]) <= 128
    for value, after in zip((0.25, 0.75), placed, strict=True):
        torch.testing.assert_close(look_up(merged, after)[:, :3], torch.full((9, 3), value))
    tiling = [dataclasses.replace(m, wrap=True) for m in grey]
    with pytest.raises(InputError, match="repeat too often"):
        merge_materials(tiling, [uv * 1000 for uv in uvs], Path("a.glb"))


def test_several_materials_are_read_as_one(tmp_path, validate):
    """A second primitive without textures, in another colour, beside the textured one."""
    mesh, material = square(), noise(16, 16, 4, normal=True)
    write_glb(Asset(mesh=mesh, material=material), facing_z(mesh), tmp_path / "a.glb")

    def add(document):
        document["materials"].append(
            {
                "pbrMetallicRoughness": {
                    "baseColorFactor": [0.1, 0.2, 0.3, 1],
                    "roughnessFactor": 0.4,
                    "metallicFactor": 0,
                }
            }
        )
        (first,) = document["meshes"][0]["primitives"]
        second = {"attributes": {"POSITION": first["attributes"]["POSITION"]}, "material": 1}
        document["meshes"].append({"primitives": [{**second, "indices": first["indices"]}]})
        document["nodes"].append({"mesh": 1, "translation": [0, 0, 1]})
        document["scenes"][0]["nodes"] = [1, 0]

    read = read_gltf(as_json(tmp_path / "a.glb", tmp_path / "a.gltf", add))
    shape = read.asset.mesh
    behind = (shape.vertices[shape.faces][..., 2] == 0).all(1)
    assert len(shape.faces) == 4 and behind.sum() == 2 and read.tangents is None
    plain = look_up(read.asset.material, shape.uvs[shape.uv_faces[~behind]].reshape(-1, 2))
    expected = torch.tensor([0.1, 0.2, 0.3, 1.0, 0.4, 0.0, 0.5, 0.5, 1.0])
    torch.testing.assert_close(plain, expected.expand(6, 9), atol=1e-5, rtol=0)
    inner = 0.25 * shape.uvs[shape.uv_faces[behind]] + 0.75 * shape.uvs[shape.uv_faces[behind]].mean(1, keepdim=True)
    before = 0.25 * mesh.uvs[mesh.uv_faces] + 0.75 * mesh.uvs[mesh.uv_faces].mean(1, keepdim=True)
    wanted = look_up(material, before.reshape(-1, 2))
    torch.testing.assert_close(look_up(read.asset.material, inner.reshape(-1, 2)), wanted, atol=0.02, rtol=0)
    write_glb(read.asset, read.normals, tmp_path / "b.glb")
    assert validate(tmp_path / "b.glb")["issues"]["messages"] == []
