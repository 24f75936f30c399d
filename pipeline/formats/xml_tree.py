"""XML from strangers: parsed without document types, entities or anything fetched."""

from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

from pipeline.errors import InputError
from pipeline.formats.files import read_regular

_MAX_DEPTH = 100


def read_xml(path: Path, *, max_bytes: int) -> ElementTree.Element:
    """The root of an XML file; names carry their namespace as `{uri}name`.

    Raises:
        InputError: When it is no XML, is nested deeper than 100, or has a document type: entities, which can grow
            without bound or name other files, are declared there, and no file of cameras needs one.
    """
    data = read_regular(path, max_bytes=max_bytes)
    builder = ElementTree.TreeBuilder()
    parser = expat.ParserCreate(namespace_separator="}")
    depth = 0

    def refuse_doctype(*_: object) -> None:
        raise InputError("declares a document type, which no file of cameras needs", path=path)

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _MAX_DEPTH:
            raise InputError(f"is nested deeper than {_MAX_DEPTH}", path=path)
        builder.start(_clark(tag), {_clark(key): value for key, value in attributes.items()})

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(_clark(tag))

    parser.StartDoctypeDeclHandler = refuse_doctype
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.buffer_text = True
    try:
        parser.Parse(data, True)
        return builder.close()
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise InputError(f"is no XML: {error}", path=path) from error


def _clark(name: str) -> str:
    return "{" + name if "}" in name else name
