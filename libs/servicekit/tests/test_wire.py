"""Each body has exactly one reading, or is refused."""

import json

import msgpack
import pytest

from servicekit import wire
from servicekit.wire import MalformedBodyError, accepted_msgpack, form_decode, read_form, read_json, read_msgpack


def refused(read, raw):
    with pytest.raises(MalformedBodyError) as error:
        read(raw)
    return error.value


def test_what_is_well_formed_is_read():
    value = {"a": "ü\U0001f600", "b": [1, 2.5, None, True], "c": {"d": ""}}
    assert read_json(json.dumps(value).encode()) == value
    assert read_msgpack(msgpack.packb(value)) == value
    assert read_form(b"a=1+2%2B&b=&c&%C3%BC=%F0%9F%98%80") == {"a": "1 2+", "b": "", "c": "", "ü": "\U0001f600"}
    assert read_form(b"") == {}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b'"text"',
        b"[]",
        b"{",
        b'{"a": 1,}',
        b'{"a": 1, "b"}',
        b"{} {}",
        b"{}x",
        b"\xef\xbb\xbf{}",
        '{"a": 1}'.encode("utf-16"),
        b'{"a": "\xff"}',
        b'{"a": "\xed\xbf\xbf"}',  # U+DFFF
        b'{"a": "\x01"}',
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": 1, "a": 2}',
        b'{"a": {"b": 1, "b": 1}}',
        b'{"a": 1, "\\u0061": 2}',
        b'{"a": ' + b"1" * 5000 + b"}",
        b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    ],
)
def test_no_other_json_is_read(raw):
    assert refused(read_json, raw).status == 400


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xc0",
        b"\x93\x01\x02\x03",
        b"\x82\xa1a\x01\xa1a\x02",
        b"\x81\x01\x02",
        b"\x81\xc4\x01a\x01",
        b"\x81\xa1\xff\x01",
        b"\x81\xa1a",
        b"\x81\xa1a\xcb\x7f\xf0\0\0\0\0\0\0",  # infinity
        b"\x80\x80",
        b"\x81\xa1a" * 100_000,
    ],
)
def test_no_other_messagepack_is_read(raw):
    assert refused(read_msgpack, raw).status == 400


@pytest.mark.parametrize("text", ["\0", "a\0", "\ud800", "\udc00\ud800"])
def test_a_text_that_cannot_be_stored_is_refused_with_its_field(text):
    for body in ({"user": {"email": text}}, {"user": {"email": ["ok", text]}}):
        error = refused(read_json, json.dumps(body).encode())
        assert (error.status, error.field) == (422, "user.email")
    assert refused(read_json, json.dumps({text: 1}).encode()).status == 422


@pytest.mark.parametrize(
    "raw", [b"a=%ff", b"%fe=a", b"a=\xff", b"a=%C3", b"a=1&a=2", b"a=1&%61=2", b"a=%00", b"a=%c0%80", b"a=%ed%a0%80"]
)
def test_no_other_form_is_read(raw):
    assert refused(read_form, raw).status in (400, 422)


def test_a_form_has_a_hundred_fields_at_the_most():
    fields = [b"f%d=" % number for number in range(101)]
    assert len(read_form(b"&".join(fields[:100]))) == 100
    assert refused(read_form, b"&".join(fields)).status == 400


def test_two_passwords_are_never_made_one():
    assert form_decode(b"caf%C3%A9") == "café"
    for raw in (b"caf%ff", b"caf%fe"):
        assert refused(form_decode, raw).status == 400


@pytest.mark.parametrize("raw", [b'{"s3cr3t": s3cr3t}', b'{"s3cr3t": 1, "s3cr3t": 2}', b'["s3cr3t"]', b"s3cr3t"])
def test_a_refusal_never_quotes_the_body(raw):
    for read in (read_json, read_msgpack):
        assert "s3cr3t" not in str(refused(read, raw))


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("", None),
        ("*/*", None),
        ("application/json", None),
        ("application/msgpack", "application/msgpack"),
        ("application/x-msgpack", "application/x-msgpack"),
        ("APPLICATION/MSGPACK", "application/msgpack"),
        ("application/json, application/msgpack", "application/msgpack"),
        ("application/json, application/msgpack;q=0.9", None),
        ("application/json;q=0.5, application/msgpack; q=0.9", "application/msgpack"),
        ("application/msgpack;q=0", None),
        ("application/msgpack;q=nonsense", None),
        (",,;;q=", None),
    ],
)
def test_messagepack_is_for_who_asks_for_it(accept, media_type):
    assert accepted_msgpack(accept) == media_type


def test_a_reply_is_encoded_as_its_type_says():
    assert json.loads(wire.encode({"a": "ü"})) == {"a": "ü"}
    for media_type in wire.MSGPACK_TYPES:
        assert msgpack.unpackb(wire.encode({"a": "ü"}, media_type)) == {"a": "ü"}
