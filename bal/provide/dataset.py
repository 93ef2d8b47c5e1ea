"""What the platform has to give, for catalogues: VoID and DCAT 2 (docs/semantics.md)."""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from bal.provide.rdf_context import BASE_IRI, IRI, Context

_MEDIA = "https://www.iana.org/assignments/media-types/"
_PREFIXES = {
    "void": "http://rdfs.org/ns/void#",
    "dcat": "http://www.w3.org/ns/dcat#",
    "dcterms": "http://purl.org/dc/terms/",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
}
# The ontologies whose terms stand in records and in the metadata graph, by prefix of the context
_VOCABULARIES = ("saref", "s4grid", "s4ener", "sgnc", "qunit", "owltime", "skos", "gridseal")


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """What the operator says of the data; empty where it is not said."""

    title: str = "Gridseal"
    licence: str = ""  # IRI of the terms of use
    publisher: str = ""  # IRI of who answers for the data


def describe(
    facts: DatasetFacts, issuer: str, entries: int, media: dict[str, tuple[str, ...]],
    context: Context,
) -> bytes:  # fmt: skip
    """The description as Turtle; it is public, so it counts log entries and nothing of clients.

    issuer: the gateway's URL; entries: size of the published log; media: path → its forms.
    Raises ValueError where a fact that must be an IRI is none.
    """
    here = f"{issuer}/.well-known/void"
    lines = [f"@prefix {name}: <{iri}> ." for name, iri in _PREFIXES.items()]
    lines.append(f"@base {_iri(here)} .\n")
    vocabularies = ", ".join(f"<{context.prefixes[name]}>" for name in _VOCABULARIES)
    shares = [f"#{n}" for path in media for n in _names(path, media[path])]
    said = [
        "a void:Dataset, dcat:Dataset",
        f"dcterms:title {_text(facts.title)}",
        f"void:uriSpace {_text(BASE_IRI)}",
        f"void:entities {entries}",
        f"void:vocabulary {vocabularies}",
        f"void:sparqlEndpoint {_iri(f'{issuer}/v1/sparql')}",
        f"dcat:distribution {', '.join(f'<{share}>' for share in shares)}",
    ]
    if facts.licence:
        said.append(f"dcterms:license {_iri(facts.licence)}")
    if facts.publisher:
        said.append(f"dcterms:publisher {_iri(facts.publisher)}")
    lines.append("<#dataset> " + " ;\n  ".join(said) + " .")
    lines.append("<> a void:DatasetDescription ; dcterms:subject <#dataset> .")
    lines.append(
        f"<#gateway> a dcat:DataService ; dcat:endpointURL {_iri(issuer)} ;\n"
        f"  dcat:endpointDescription {_iri(f'{issuer}/openapi.json')} ;"
        " dcat:servesDataset <#dataset> ."
    )
    for path, forms in media.items():
        lines += _distributions(issuer, path, forms)
    return ("\n".join(lines) + "\n").encode()


def _distributions(issuer: str, path: str, forms: tuple[str, ...]) -> Iterator[str]:
    for name, form in zip(_names(path, forms), forms, strict=True):
        yield (
            f"<#{name}> a dcat:Distribution ; dcat:accessURL {_iri(issuer + path)} ;\n"
            f"  dcat:mediaType <{_MEDIA}{form}> ; dcat:accessService <#gateway> ."
        )


def _names(path: str, forms: tuple[str, ...]) -> list[str]:
    what = path.rpartition("/")[2]
    return [f"{what}-{form.partition('/')[2].replace('+', '-')}" for form in forms]


def _iri(text: str) -> str:
    if not text or IRI.fullmatch(text) is None:
        raise ValueError("not an IRI")
    return f"<{text}>"


def _text(text: str) -> str:
    return msgspec.json.encode(text).decode()  # RDF 1.1 Turtle §6.4 knows JSON's escapes
