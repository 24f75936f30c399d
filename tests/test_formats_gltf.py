"""GLB files: the Khronos validator has nothing to say, others read the same shape and colours, ours reads back."""

import base64
import dataclasses
import json
import struct

import numpy as np
import pytest
import torch
import trimesh

from pipeline.color import linear_from_srgb, srgb_from_linear
from pipeline.errors import InputError, ReconError
from pipeline.formats.glb import unpack
from pipeline.formats.gltf import read_gltf, write_glb
from pipeline.scene import Asset, Material, Mesh


def cube():
    """A closed cube of 8 vertices, each side with its own place in a 3 x 2 atlas: 24 corners after splitting."""
    sides = [[0, 4, 6, 2], [1, 3, 7, 5], [0, 1, 5, 4], [2, 6, 7, 3], [0, 2, 3, 1], [4, 5, 7, 6]]
    vertices = torch.tensor([[x, y, z] for z in (0.0, 1.0) for y in (0.0, 1.0) for x in (0.0, 1.0)])
    faces = torch.tensor([t for a, b, c, d in sides for t in ([a, b, c], [a, c, d])])
    corner = torch.tensor([[0.05, 0.95], [0.95, 0.95], [0.95, 0.05], [0.05, 0.05]])
    uvs = torch.cat([(corner + torch.tensor([i % 3, i // 3])) / torch.tensor([3, 2]) for i in range(6)])
    uv_faces = torch.tensor([t for i in range(0, 24, 4) for t in ([i, i + 1, i + 2], [i, i + 2, i + 3])])
    return Mesh(vertices=vertices, faces=faces, uvs=uvs, uv_faces=uv_faces)


def maps(size=16, seed=0):
    rng = torch.Generator().manual_seed(seed)
    base, orm = torch.rand(2, size, size, 3, generator=rng)
    return Material(base_color=base, orm=orm)


def normals_of(mesh):
    return torch.nn.functional.normalize(mesh.vertices - mesh.vertices.mean(0), dim=1)


@pytest.fixture
def asset():
    return Asset(mesh=cube(), material=maps())


def document_of(path):
    return json.loads(unpack(path.read_bytes(), path)[0])


def pack(document, binary):
    """A GLB file by hand, of a document that may be wrong."""
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<4sIII4s", b"glTF", 2, 28 + len(text) + len(binary), len(text), b"JSON")
    return head + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary


@pytest.mark.parametrize("image_format", ["png", "jpeg"])
def test_the_khronos_validator_finds_nothing(asset, tmp_path, validate, image_format):
    write_glb(asset, normals_of(asset.mesh), tmp_path / "a.glb", image_format=image_format)
    report = validate(tmp_path / "a.glb")
    assert report["issues"]["messages"] == [], report["issues"]["messages"]
    assert report["info"]["totalVertexCount"] == 24 and report["info"]["totalTriangleCount"] == 12


def test_the_validator_accepts_large_files_and_normal_maps(tmp_path, validate):
    """More corners than 16 bits can count; tangents that are perpendicular to the normals at each corner."""
    shape = trimesh.creation.icosphere(subdivisions=6)
    vertices, faces = torch.tensor(shape.vertices), torch.tensor(shape.faces)
    uv_faces = torch.arange(faces.numel()).reshape(-1, 3)
    mesh = Mesh(vertices=vertices, faces=faces, uvs=torch.rand(faces.numel(), 2), uv_faces=uv_faces)
    material = Material(base_color=torch.rand(8, 8, 3), orm=torch.rand(8, 8, 3), normal=torch.full((8, 8, 3), 0.5))
    sideways = torch.linalg.cross(vertices, torch.tensor([[0.3, 0.2, 0.1]], dtype=torch.float64).expand_as(vertices))
    tangents = torch.cat([torch.nn.functional.normalize(sideways, dim=1)[faces], torch.ones(len(faces), 3, 1)], -1)
    asset = Asset(mesh=mesh, material=material)
    written = write_glb(asset, vertices, tmp_path / "a.glb", tangents=tangents.float())
    assert written.vertices > 65535 and written.triangles == len(faces) and written.degenerate == 0
    issues = validate(tmp_path / "a.glb")["issues"]
    assert issues["messages"] == []
    assert read_gltf(tmp_path / "a.glb").asset.material.normal is not None


def test_tangents_split_vertices_where_they_differ(asset, tmp_path, validate):
    normals = normals_of(asset.mesh)
    corner_normals = normals[asset.mesh.faces]
    axis = torch.eye(3)[torch.arange(12) // 2 % 3][:, None].expand(12, 3, 3)
    tangent = torch.nn.functional.normalize(torch.linalg.cross(corner_normals, axis), dim=-1)
    tangents = torch.cat([tangent, torch.tensor([1.0, -1.0]).repeat(6)[:, None, None].expand(12, 3, 1)], -1)
    material = Material(base_color=torch.rand(4, 4, 3), orm=torch.rand(4, 4, 3), normal=torch.full((4, 4, 3), 0.5))
    written = write_glb(Asset(mesh=asset.mesh, material=material), normals, tmp_path / "a.glb", tangents=tangents)
    assert written.vertices == 36
    torch.testing.assert_close(read_gltf(tmp_path / "a.glb").tangents, tangents, atol=1e-6, rtol=0)
    assert validate(tmp_path / "a.glb")["issues"]["messages"] == []


def test_read_back_equals_what_was_written(asset, tmp_path):
    normals = normals_of(asset.mesh)
    written = write_glb(asset, normals, tmp_path / "a.glb")
    assert (written.vertices, written.triangles, written.degenerate) == (24, 12, 0)
    assert written.size_bytes == (tmp_path / "a.glb").stat().st_size
    read = read_gltf(tmp_path / "a.glb")
    again, read_normals = read.asset, read.normals
    mesh, source = again.mesh, asset.mesh
    assert mesh.vertices.shape == (8, 3)
    assert torch.equal(mesh.vertices[mesh.faces], source.vertices[source.faces])
    assert torch.equal(mesh.uvs[mesh.uv_faces], source.uvs[source.uv_faces])
    assert torch.allclose(read_normals[mesh.faces], normals[source.faces], atol=1e-6)
    assert (again.material.orm - asset.material.orm).abs().max() <= 0.5 / 255 + 1e-6
    levels = srgb_from_linear(again.material.base_color) - srgb_from_linear(asset.material.base_color)
    assert levels.abs().max() <= 0.5 / 255 + 1e-5
    assert again.environment is None and again.material.normal is None


def test_trimesh_reads_the_same_asset(asset, tmp_path):
    """An independent reader: a closed cube of volume 1, and the base colour that we meant at each corner."""
    write_glb(asset, normals_of(asset.mesh), tmp_path / "a.glb")
    scene = trimesh.load(tmp_path / "a.glb")
    (name,) = scene.geometry
    read = scene.geometry[name]
    assert name == "asset_mesh" and np.allclose(scene.bounds, [[0, 0, 0], [1, 1, 1]])
    welded = trimesh.Trimesh(read.vertices, read.faces)
    assert welded.is_watertight and welded.volume == pytest.approx(1.0)
    flipped_back = np.stack([read.visual.uv[:, 0], 1 - read.visual.uv[:, 1]], -1)
    assert np.allclose(flipped_back[read.faces], asset.mesh.uvs[asset.mesh.uv_faces], atol=1e-6)
    material = read.visual.material
    base = torch.tensor(np.asarray(material.baseColorTexture.convert("RGB"))) / 255
    assert torch.allclose(linear_from_srgb(base), asset.material.base_color, atol=0.01)
    orm = torch.tensor(np.asarray(material.metallicRoughnessTexture.convert("RGB"))) / 255
    assert torch.allclose(orm, asset.material.orm, atol=0.5 / 255 + 1e-6)
    assert material.doubleSided is False


def test_the_same_asset_gives_the_same_bytes(asset, tmp_path):
    for name in "ab":
        write_glb(asset, normals_of(asset.mesh), tmp_path / f"{name}.glb")
    assert (tmp_path / "a.glb").read_bytes() == (tmp_path / "b.glb").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.glb", "b.glb"]


def test_document_says_what_engines_expect(asset, tmp_path):
    write_glb(asset, normals_of(asset.mesh), tmp_path / "a.glb")
    document = document_of(tmp_path / "a.glb")
    (material,) = document["materials"]
    assert material["occlusionTexture"]["index"] == 1
    assert material["pbrMetallicRoughness"]["metallicRoughnessTexture"]["index"] == 1
    assert document["asset"]["generator"].startswith("recon ")
    assert document["samplers"] == [{"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071}]
    (primitive,) = document["meshes"][0]["primitives"]
    assert document["accessors"][primitive["indices"]]["componentType"] == 5123
    assert "extensionsUsed" not in document and "TANGENT" not in primitive["attributes"]
    tiled = Mesh(vertices=cube().vertices, faces=cube().faces, uvs=cube().uvs * 2, uv_faces=cube().uv_faces)
    tiling = dataclasses.replace(maps(), wrap=True)
    write_glb(Asset(mesh=tiled, material=tiling), normals_of(tiled), tmp_path / "b.glb")
    assert document_of(tmp_path / "b.glb")["samplers"][0]["wrapS"] == 10497


def test_degenerate_triangles_and_missing_normals(asset, tmp_path, validate):
    mesh = asset.mesh
    slivers = torch.tensor([[0, 0, 1], [8, 0, 1]])  # vertex 8 lies on the edge from 0 to 1
    bad = Mesh(
        vertices=torch.cat([mesh.vertices, torch.tensor([[0.5, 0.0, 0.0]])]),
        faces=torch.cat([mesh.faces, slivers]),
        uvs=mesh.uvs,
        uv_faces=torch.cat([mesh.uv_faces, torch.tensor([[0, 1, 2], [0, 1, 2]])]),
    )
    normals = torch.cat([normals_of(mesh), torch.zeros(1, 3)])
    normals[3] = 0
    written = write_glb(Asset(mesh=bad, material=asset.material), normals, tmp_path / "a.glb")
    assert (written.vertices, written.triangles, written.degenerate) == (24, 12, 2)
    assert validate(tmp_path / "a.glb")["issues"]["messages"] == []
    read = read_gltf(tmp_path / "a.glb")
    assert torch.allclose(read.normals.norm(dim=1), torch.ones(8))
    diagonal = torch.tensor([[0.5, 0.5, -0.5]]) / 0.75**0.5
    where = (read.asset.mesh.vertices == mesh.vertices[3]).all(1)
    assert (read.normals[where] @ diagonal.T).item() > 0.8


def test_what_cannot_be_written_is_refused(asset, tmp_path):
    mesh, normals, path = asset.mesh, normals_of(asset.mesh), tmp_path / "a.glb"
    with pytest.raises(ReconError, match="without texture coordinates"):
        write_glb(Asset(mesh=Mesh(vertices=mesh.vertices, faces=mesh.faces), material=maps()), normals, path)
    with pytest.raises(ReconError, match="without texture coordinates or material"):
        write_glb(Asset(mesh=mesh), normals, path)
    bent = Mesh(vertices=mesh.vertices * float("nan"), faces=mesh.faces, uvs=mesh.uvs, uv_faces=mesh.uv_faces)
    with pytest.raises(ReconError, match="not finite"):
        write_glb(Asset(mesh=bent, material=maps()), normals, path)
    with pytest.raises(ReconError, match="not finite"):
        write_glb(asset, normals * float("inf"), path)
    flat = Mesh(vertices=mesh.vertices * 0, faces=mesh.faces, uvs=mesh.uvs, uv_faces=mesh.uv_faces)
    with pytest.raises(ReconError, match="none of 12 triangles"):
        write_glb(Asset(mesh=flat, material=maps()), normals, path)
    assert not path.exists()


def rewritten(path, edit, target):
    """The file at `path` with its document changed by `edit`, as `target`."""
    text, binary = unpack(path.read_bytes(), path)
    document = json.loads(text)
    edit(document)
    target.write_bytes(pack(document, binary))
    return target


def test_nodes_are_applied_and_primitives_merged(asset, tmp_path):
    """Two instances, one mirrored (by a matrix), one turned by 90 degrees about Y below a moved parent."""
    write_glb(asset, normals_of(asset.mesh), tmp_path / "a.glb")

    def edit(document):
        document["nodes"] = [
            {"matrix": [-1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1], "mesh": 0},
            {"translation": [10, 0, 0], "children": [2]},
            {"rotation": [0, 0.5**0.5, 0, 0.5**0.5], "scale": [1, 2, 1], "mesh": 0},
        ]
        document["scenes"] = [{"nodes": [0, 1]}]

    again = read_gltf(rewritten(tmp_path / "a.glb", edit, tmp_path / "b.glb"))
    read, normals = again.asset, again.normals
    expected = trimesh.load(tmp_path / "b.glb").to_geometry()
    shape = trimesh.Trimesh(read.mesh.vertices, read.mesh.faces, process=False)
    assert shape.is_watertight and shape.volume == pytest.approx(3.0)
    assert np.allclose(shape.bounds, expected.bounds, atol=1e-6) and np.allclose(shape.bounds[1], [11, 2, 1])
    outwards = read.mesh.vertices - torch.where(read.mesh.vertices[:, :1] > 5, torch.tensor([10.5, 1.0, -0.5]), 0)
    assert ((outwards - torch.tensor([-0.5, 0.5, 0.5])) * normals).sum(1)[read.mesh.vertices[:, 0] < 5].min() > 0


def test_factors_and_single_textures(asset, tmp_path):
    write_glb(asset, normals_of(asset.mesh), tmp_path / "a.glb")

    def edit(document):
        rough = {"baseColorFactor": [0.5, 0.25, 1.0, 1.0], "roughnessFactor": 0.5, "metallicFactor": 0.0}
        document["materials"] = [{"pbrMetallicRoughness": {**rough, "baseColorTexture": {"index": 0}}}]

    material = read_gltf(rewritten(tmp_path / "a.glb", edit, tmp_path / "b.glb")).asset.material
    tinted = asset.material.base_color * torch.tensor([0.5, 0.25, 1.0])
    assert torch.allclose(material.base_color, tinted, atol=0.01)
    assert torch.allclose(material.orm, torch.tensor([1.0, 0.5, 0.0]).expand_as(material.orm))


def test_a_data_uri_is_read_and_a_path_is_not(asset, tmp_path):
    write_glb(asset, normals_of(asset.mesh), tmp_path / "a.glb")
    binary = unpack((tmp_path / "a.glb").read_bytes(), tmp_path)[1]
    inline = "data:application/octet-stream;base64," + base64.b64encode(binary).decode()
    uri = rewritten(tmp_path / "a.glb", lambda d: d["buffers"][0].update(uri=inline), tmp_path / "b.glb")
    assert read_gltf(uri).asset.mesh.faces.shape == (12, 3)
    for escape in ("../a.glb", "/etc/passwd", "https://example.com/a.bin", "a.bin", "data:;base64,%%%"):
        bad = rewritten(tmp_path / "a.glb", lambda d, e=escape: d["buffers"][0].update(uri=e), tmp_path / "c.glb")
        with pytest.raises(InputError, match=r"c\.glb: (refers to another file|holds a broken data URI)"):
            read_gltf(bad)


BROKEN = {
    "ends at byte": lambda d: d["accessors"][0].update(count=10**15),
    "refers to materials.7. of 1": lambda d: d["meshes"][0]["primitives"][0].update(material=7),
    "refers to bufferViews": lambda d: d["accessors"][0].update(bufferView=-1),
    "requires the extensions KHR_draco": lambda d: d.update(extensionsRequired=["KHR_draco_mesh_compression"]),
    "below itself": lambda d: d["nodes"][0].update(children=[0]),
    "no triangles": lambda d: d["nodes"][0].pop("mesh"),
    "strips": lambda d: d["meshes"][0]["primitives"][0].update(mode=5),
    "incomplete or not 3 wide": lambda d: d["accessors"][0].update(type="VEC2"),
    "accessors.3. is sparse, incomplete": lambda d: d["accessors"][3].pop("componentType"),
    "bufferViews.0. has None bytes": lambda d: d["bufferViews"][0].pop("byteLength"),
    "not a valid glTF file: TypeError": lambda d: d["meshes"][0]["primitives"][0].update(attributes=[0]),
    "holds 65[0-9]* objects of JSON": lambda d: d.update(nodes=[{}] * 2**16),
    "nodes.0. is not an object": lambda d: d.update(nodes=[None]),
    "not a valid glTF file: ValueError": lambda d: d["nodes"][0].update(matrix=[1, 2]),
    "ValueError: not enough values": lambda d: d["materials"][0]["pbrMetallicRoughness"].update(baseColorFactor=[]),
    "second set of texture": lambda d: d["materials"][0]["occlusionTexture"].update(texCoord=1),
    "not an image": lambda d: d["images"][0].update(bufferView=0),
}


@pytest.mark.parametrize("message", BROKEN)
def test_broken_documents_are_refused(asset, tmp_path, message):
    write_glb(asset, normals_of(asset.mesh), tmp_path / "a.glb")
    with pytest.raises(InputError, match=rf"b\.glb: .*{message}"):
        read_gltf(rewritten(tmp_path / "a.glb", BROKEN[message], tmp_path / "b.glb"))


def test_broken_containers_are_refused(asset, tmp_path):
    path = tmp_path / "a.glb"
    write_glb(asset, normals_of(asset.mesh), path)
    data = path.read_bytes()
    deep = b"[" * 200_000
    cases = {
        "not a GLB file": b"glTX" + data[4:],
        "version 1": data[:4] + struct.pack("<I", 1) + data[8:],
        "truncated": data[:-8],
        "ends after the file": data[:12] + struct.pack("<I", 2**31) + data[16:],
        "broken JSON": struct.pack("<4sIII4s", b"glTF", 2, 20 + len(deep), len(deep), b"JSON") + deep,
        "not an object": struct.pack("<4sIII4s", b"glTF", 2, 24, 4, b"JSON") + b"[]  ",
    }
    for message, content in cases.items():
        path.write_bytes(content)
        with pytest.raises(InputError, match=message):
            read_gltf(path)


def test_random_damage_raises_nothing_but_input_errors(asset, tmp_path):
    write_glb(asset, normals_of(asset.mesh), tmp_path / "a.glb")
    clean = (tmp_path / "a.glb").read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(200):
        data = bytearray(clean)
        for at in rng.integers(0, 3200 if rng.random() < 0.8 else len(data), 3):
            data[at] = rng.integers(32, 127)
        (tmp_path / "b.glb").write_bytes(data)
        try:
            read_gltf(tmp_path / "b.glb")
        except InputError as error:
            assert "b.glb" in str(error)


def places(value):
    """Every container in a JSON value with each key or index of it."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from places(value[key])


def test_odd_values_raise_nothing_but_input_errors(asset, tmp_path):
    """Each value of the document in turn becomes one of another type, or leaves its range."""
    write_glb(asset, normals_of(asset.mesh), tmp_path / "a.glb")
    text, binary = unpack((tmp_path / "a.glb").read_bytes(), tmp_path)
    odd = [None, True, -1, 0.5, 10**30, float("inf"), float("nan"), "", "x", [], [None], [[]], {}, {"self": 1}]
    refused = 0
    for i in range(len(list(places(json.loads(text))))):
        document = json.loads(text)
        container, key = list(places(document))[i]
        container[key] = odd[i * 5 % len(odd)]
        (tmp_path / "b.glb").write_bytes(pack(document, binary))
        try:
            read_gltf(tmp_path / "b.glb")
        except InputError as error:
            refused += 1
            assert "b.glb" in str(error)
    assert refused > 50
