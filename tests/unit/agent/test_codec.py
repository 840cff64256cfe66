"""Values into the journal and back: what stays itself, what is refused and how that is said, and what may be built."""

from __future__ import annotations

import json
import math
import re
import sys
from collections import Counter, OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, RootModel, SecretStr
from pydantic_core import from_json, to_json

from holdfast.errors import AgentFailed
from holdfast_agent.codec import TAG, comparable, from_record, to_plain, to_record
from holdfast_agent.load import load
from tests.unit.agent.recorded_types import (
    Address,
    AddressPage,
    Colour,
    Customer,
    Even,
    Level,
    Line,
    Login,
    Names,
    Order,
    Outer,
    Page,
    Rights,
    Trip,
    Vip,
    Word,
)

HERE = "tests.unit.agent.recorded_types"
ADDRESS = Address(street="High Street", zip="1")


def again(value: Any) -> Any:
    """The value as an agent gets it after a restart: by way of JSON bytes."""
    return from_record(from_json(to_json(to_record(value, what="it"))), what="it")


def refused(value: Any) -> str:
    """Why it cannot be recorded."""
    with pytest.raises(AgentFailed) as caught:
        to_record(value, what="the result of step 'charge'")
    assert caught.value.code == "not_json"
    assert caught.value.message.startswith("the result of step 'charge' cannot be recorded: ")
    assert not caught.value.retryable
    return caught.value.message.partition("recorded: ")[2]


def unreadable(record: Any) -> str:
    """Why it cannot be read back."""
    with pytest.raises(AgentFailed) as caught:
        from_record(record, what="the result of step 'charge'")
    assert caught.value.code == "not_decodable"
    assert caught.value.message.startswith("the result of step 'charge' cannot be read back: ")
    return caught.value.message.partition("read back: ")[2]


# -- round trips ---------------------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
PLAIN_KEYS = TEXT.filter(lambda key: key != TAG)
KEYS = TEXT | st.just(TAG)
JSON_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
JSON_VALUES = st.recursive(
    JSON_SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(PLAIN_KEYS, inner, max_size=4),
    max_leaves=12,
)
LINES = st.builds(Line, TEXT, st.decimals(allow_nan=False), st.lists(st.sampled_from(Colour), max_size=3))
ZONES = st.none() | st.builds(timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23)))
DATETIMES = st.datetimes(timezones=ZONES)
ORDERS = st.builds(
    Order, st.uuids(), st.lists(LINES, max_size=3), st.dictionaries(KEYS, LINES, max_size=3), st.datetimes()
)
TYPED = (
    st.binary(max_size=20)
    | DATETIMES
    | st.dates()
    | st.uuids()
    | st.decimals(allow_nan=False)
    | st.sampled_from([*Colour, *Level, *Word, *Rights, Rights.READ | Rights.WRITE, Rights(0)])
    | LINES
    | ORDERS
)
CUSTOMERS = st.builds(Customer, name=TEXT, address=st.just(ADDRESS), anything=TYPED, scan=st.binary(max_size=9))
VALUES = st.recursive(
    JSON_SCALARS | TYPED | CUSTOMERS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.builds(Outer.Inner, inner)
        | st.builds(Customer, name=TEXT, address=st.just(ADDRESS), anything=inner)
    ),
    max_leaves=12,
)


@given(JSON_VALUES)
def test_json_values_stay(value: Any) -> None:
    assert again(value) == value
    if not any(isinstance(each, float) for each in leaves(value)):
        assert to_record(value, what="it") == value


@given(VALUES)
def test_every_value_comes_back_as_what_it_was(value: Any) -> None:
    back = again(value)
    assert back == value
    assert type(back) is type(value)
    assert to_record(back, what="it") == to_record(value, what="it")


@given(JSON_VALUES | VALUES)
def test_the_first_run_and_its_replay_hand_on_the_same_to_the_last_key(value: Any) -> None:
    """Postgres sorts the keys of an object and writes its numbers anew: neither may show."""
    record = to_record(value, what="it")
    stored = json.loads(json.dumps(record), parse_float=as_postgres_gives_it)
    assert repr(from_record(by_postgres(stored), what="it")) == repr(from_record(record, what="it"))


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for each in value.values() for leaf in leaves(each)]
    if isinstance(value, list):
        return [leaf for each in value for leaf in leaves(each)]
    return [value]


def as_postgres_gives_it(written: str) -> Any:
    """A number that went through ``numeric``: no exponent, and no point unless it had one or has a fraction."""
    exact = format(Decimal(written), "f")
    if Decimal(written) == 0:
        exact = exact.lstrip("-")
    return float(exact) if "." in exact else int(exact)


def by_postgres(value: Any) -> Any:
    """An object's keys as jsonb has them: the shorter first, then by their bytes."""
    if isinstance(value, dict):
        return {
            key: by_postgres(value[key]) for key in sorted(value, key=lambda key: (len(key.encode()), key.encode()))
        }
    return [by_postgres(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("value", [1e16, 1.5e300, -1e22, -0.0, 5e-324, 1e15, 0.1])
def test_floats_stay_floats(value: float) -> None:
    back = again(value)
    assert isinstance(back, float)
    assert (back, math.copysign(1, back)) == (value, math.copysign(1, value))


def test_a_tuple_becomes_a_list_and_a_subclass_what_it_is_a_subclass_of() -> None:
    Point = namedtuple("Point", "x y")
    assert again((1, (2, 3))) == [1, [2, 3]]
    assert again(Point(1, 2)) == [1, 2]
    assert type(again(OrderedDict(a=1))) is dict
    assert again(Counter("aab")) == {"a": 2, "b": 1}
    assert again({Word.YES: 1}) == {"y": 1}
    assert type(next(iter(again({Word.YES: 1})))) is str


def test_a_dataclass_keeps_what_its_constructor_did_not_set() -> None:
    order = Order(UUID(int=1), [], {}, datetime(2026, 1, 1, tzinfo=UTC))
    order.count = 7
    assert again(order).count == 7


def test_models_keep_their_types_aliases_extras_and_tuples() -> None:
    vip = Vip(name="A", address=ADDRESS, rank=1, pair=(1, "x"), scan=b"\xff\x00", more=[1])
    back = again({"customers": [vip]})["customers"][0]
    assert back == vip
    assert (type(back), back.pair, back.model_extra) == (Vip, (1, "x"), {"more": [1]})
    holder = Customer(name="B", address=ADDRESS, anything=Line("s", Decimal("1.10")))
    assert again(holder).anything == Line("s", Decimal("1.10"))
    assert again(Names(["a"])) == Names(["a"])
    assert again(AddressPage(items=[ADDRESS])) == AddressPage(items=[ADDRESS])


def test_what_only_pydantic_can_write_is_taken_from_pydantic() -> None:
    trip = Trip(takes=timedelta(seconds=90), tags={"a", "b"}, folder=Path("x/y"), stages=[timedelta(seconds=1)])
    assert again(trip) == trip


class Open(BaseModel):
    """Holds whatever it is given."""

    model_config = ConfigDict(extra="allow")


class AnyRoot(RootModel[Any]):
    """Is whatever it is given."""


class Stays(BaseModel):
    """A set and keys that are no strings, for which only pydantic has a word."""

    tags: set[str]
    said: dict[int, Any]


FOREIGN = {TAG: "model", "type": "tests.unit.agent.recorded_types:Address", "value": {"street": "a", "zip_code": "1"}}


@pytest.mark.parametrize(
    "value",
    [
        {TAG: "bytes", "value": "AA=="},
        {"items": [FOREIGN]},
        {TAG: {TAG: "dict", "value": FOREIGN}},
        {TAG: "dict", "value": FOREIGN},
        {TAG: 1},
        Vip.model_validate({"name": "A", "address": ADDRESS, "rank": 1, **FOREIGN}),
        Vip.model_validate({"name": "A", "address": ADDRESS, "rank": 1, TAG: "dict", "value": FOREIGN}),
        Customer(name="A", address=ADDRESS, anything=FOREIGN),
        Open.model_validate(FOREIGN),
        Open.model_validate({TAG: "dict", "value": FOREIGN}),
        AnyRoot(FOREIGN),
        AnyRoot(b"raw"),
        Stays(tags={"a"}, said={1: FOREIGN}),
    ],
)
def test_what_says_the_journal_s_word_by_itself_comes_back_as_it_is(value: Any) -> None:
    back = again(value)
    assert back == value
    assert type(back) is type(value)


def test_a_model_s_own_value_builds_no_other_type() -> None:
    """A record of before these were escaped."""
    back = from_record({TAG: "model", "type": f"{__name__}:Open", "value": FOREIGN}, what="it")
    assert back == Open.model_validate(FOREIGN)


# -- what is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"items": [1, 2, {"price": {1}}]}, "$.items[2].price is of type set, which has no encoding"),
        (object(), "$ is of type object, which has no encoding"),
        ([timedelta(1)], "$[0] is of type datetime:timedelta, which has no encoding"),
        (ValueError("x"), "$ is of type ValueError, which has no encoding"),
        (Line, "$ is of type type, which has no encoding"),
        ({"a": {1: "x"}}, "$.a has the key 1 of type int: keys must be strings"),
        (Outer.Inner({1}), "$.x is of type set, which has no encoding"),  # type: ignore[arg-type]  # what the test is about
        (
            Login(user="u", password=SecretStr("s")),
            "$.password is of type pydantic.types:SecretStr, which has no encoding",
        ),
    ],
)
def test_what_has_no_encoding_is_refused_saying_what_and_where(value: Any, why: str) -> None:
    assert refused(value) == why


def test_a_class_that_cannot_be_found_again_is_refused() -> None:
    @dataclass
    class Local:
        x: int

    class LocalModel(BaseModel):
        x: int

    for value in (Local(1), LocalModel(x=1), Page[LocalModel](items=[])):
        assert "cannot be found again by that name: define the class at the top of a module" in refused([value])


def test_what_holds_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert refused(endless) == "it nests too deep, or holds itself"


def tagged(kind: str, name: str, value: Any) -> dict[str, Any]:
    return {TAG: kind, "type": f"{HERE}:{name}", "value": value}


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ([tagged("dataclass", "Gone", {})], rf"\$\[0\] is a dataclass of type {HERE}:Gone: .*has no Gone"),
        ({TAG: "model", "type": "no_such_module_here:X", "value": {}}, r".*no_such_module_here:X: No module named"),
        (tagged("dataclass", "Line", {"sku": "a"}), rf"\$ no longer fits {HERE}:Line: TypeError: .*price"),
        (
            tagged("dataclass", "Line", {"sku": "a", "price": 1, "old": 2}),
            r"\$ no longer fits .*Line: TypeError: .*old",
        ),
        (tagged("model", "Address", {"street": "a"}), r"\$ no longer fits .*Address: ValidationError"),
        ({"n": tagged("model", "Even", {"n": 3})}, r"\$\.n no longer fits .*Even: ValidationError: .*\n.*\n.*odd"),
        ({TAG: "enum", "type": f"{HERE}:Colour", "name": "BLUE"}, r"\$ no longer fits .*Colour: KeyError: 'BLUE'"),
        (tagged("dataclass", "Line", [1]), r"\$ no longer fits .*Line"),
        ({TAG: "uuid", "value": "x"}, r"\$ is a uuid: badly formed"),
        ({TAG: "bytes"}, r"\$ is a bytes: 'value'"),
        ({TAG: ["no"]}, r"\$ is a \['no'\]"),
        ({TAG: "somewhat"}, r"\$ is a somewhat"),
        (tagged("dataclass", "Address", {}), r"\$ is a dataclass .*Address is no dataclass now"),
        (tagged("model", "Line", {}), r".*Line is no model now"),
        (tagged("enum", "Line", {}), r".*Line is no enum now"),
        (tagged("model", "Outer", {}), r".*Outer is no model now"),
        ({TAG: "model", "type": "os:system", "value": "true"}, r".*os:system is no model now"),
        ({TAG: "dataclass", "type": "subprocess:Popen", "value": {"args": "true"}}, r".*Popen is no dataclass now"),
        ({TAG: "enum", "type": "builtins:eval", "name": "1"}, r".*eval is no enum now"),
    ],
)
def test_what_is_gone_no_longer_fits_or_may_not_be_built_is_said(record: Any, why: str) -> None:
    assert re.match(why, unreadable(record))


def test_a_record_that_nests_too_deep_is_said() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert unreadable(deep) == "it nests too deep"


# -- files of agents, wherever they lie ----------------------------------------------------------------------------------

FILE = """
from dataclasses import dataclass
from holdfast_agent import agent
@dataclass
class {name}:
    x: int
@agent({name!r})
async def some(run): return {name}
"""


@pytest.fixture
def load_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., type]:
    """Load a file of agents as a runner does; returns its dataclass. All are forgotten after the test."""
    monkeypatch.setattr(sys, "modules", dict(sys.modules))

    def loaded(folder: str, stem: str, name: str) -> type:
        path = tmp_path / folder / f"{stem}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(FILE.format(name=name))
        function = load([str(path)]).agents[name].function
        made: type = function.__globals__[name]
        return made

    return loaded


def forget(made: type) -> None:
    """As on a pod that has the file elsewhere."""
    del sys.modules[made.__module__]


def test_a_type_of_a_file_that_lies_elsewhere_on_this_pod_is_found_by_its_stem(load_file: Callable[..., type]) -> None:
    there = load_file("there", "shop", "Basket")
    record = to_record(there(1), what="it")
    forget(there)
    here = load_file("here", "shop", "Basket")
    load_file("here", "workshop", "Basket")
    back = from_record(record, what="it")
    assert (type(back), back.x) == (here, 1)
    assert comparable(record) == comparable(to_record(here(1), what="it"))
    assert record != to_record(here(1), what="it")


def test_of_two_files_with_one_stem_the_one_at_the_same_place_counts(load_file: Callable[..., type]) -> None:
    one, other = load_file("one", "shop", "Basket"), load_file("other", "shop", "Basket")
    assert [type(again(each(1))) for each in (one, other)] == [one, other]


def test_two_files_elsewhere_with_one_stem_are_told_apart_by_what_they_have_or_not_at_all(
    load_file: Callable[..., type],
) -> None:
    gone = load_file("gone", "shop", "Basket")
    record = to_record(gone(1), what="it")
    forget(gone)
    here = load_file("here", "shop", "Basket")
    load_file("there", "shop", "Counter")
    assert type(from_record(record, what="it")) is here
    load_file("third", "shop", "Basket")
    with pytest.raises(AgentFailed, match="2 loaded files of agents have Basket"):
        from_record(record, what="it")


def test_comparing_leaves_everything_else_alone() -> None:
    value = {"a": [1, {"type": "holdfast_agents.x_01234567:Y"}], "b": date(2026, 1, 1), "c": ADDRESS}
    record = to_record(value, what="it")
    assert comparable(record) == record


# -- plain -----------------------------------------------------------------------------------------------------------------


def test_plain_is_what_one_reads_who_does_not_know_the_types() -> None:
    value = {"order": Line("a", Decimal("1.10")), "to": Names(["x"]), "raw": b"\xff", "pair": (1, 2)}
    plain = {"order": {"sku": "a", "price": "1.10", "colours": []}, "to": ["x"], "raw": "_w==", "pair": [1, 2]}
    assert to_plain(value, what="it") == plain


def test_what_cannot_be_plain_is_refused() -> None:
    with pytest.raises(AgentFailed, match=r"the input of child 'x' is not a JSON value: .*object"):
        to_plain([object()], what="the input of child 'x'")


def test_validators_see_what_was_recorded() -> None:
    assert again(Even(n=2)) == Even(n=2)
