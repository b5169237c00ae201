"""What the name of a column says. A name is weighed with the values, it never makes a number of an id."""

import re
from collections.abc import Iterable


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _listed(text: str) -> tuple[str, ...]:
    return tuple(text.split())


LABELS = _listed("label click clicked clk is_click isclick is_clicked ctr_label target y")
"""Names of a label, the likeliest first."""
OUTCOMES = _set(
    "like liked follow followed share shared conversion convert converted cvr purchase purchased buy "
    "bought order ordered cart fav favorite favourite favorited comment commented install installed hate "
    "forward effective"
)
"""What else a user may do to what was shown: known only after the row, so never an input."""
USERS = _listed(
    "user_id userid uid user member_id memberid customer_id visitor_id viewer_id account_id profile_id "
    "reader_id device_id deviceid cookie_id cookie session_id sessionid session request_id query_id"
)
"""Names of whom a ranking is for, the likeliest first."""
TIMES = _set(
    "time timestamp ts datetime date day hour dt unixtime unix created created_at event_time "
    "event_timestamp click_time impression_time request_time log_time time_stamp"
)
ROW_IDS = _set("id row_id rowid index idx impression_id imp_id event_id log_id sample_id uuid guid")
WEIGHTS = _set("sample_weight example_weight row_weight instance_weight")

_USER_WORDS = _set("user uid member visitor viewer account device cookie session request query")
_ITEM_WORDS = _set(
    "item ad ads adgroup creative campaign product sku goods movie film video photo song track artist "
    "album news article doc document book brand advertiser category price seller merchant author title "
    "genre tag topic release candidate"
)
_PLACE_WORDS = _set("site app page placement slot banner position channel scene scenario domain referrer")
_LEVEL_WORDS = _set(
    "id ids level group code type class segment seg bucket bin band range category flag is has hash zip "
    "zipcode postal phone version ver os model status tier ip key name year month day weekday hour"
)
_NUMBER_WORDS = _set(
    "price cost age count cnt num amount amt qty quantity score rating rate ratio ctr cvr days minutes "
    "seconds duration length len size width height distance weight income salary budget bid discount "
    "percent pct freq frequency times views clicks impressions sales stock revenue temperature lat lon "
    "latitude longitude int float dense numeric"
)
_HISTORY_WORDS = _set(
    "history histories hist his seq sequence sequences recent last past previous prev behavior behaviour "
    "behaviors behaviours clicked click clk viewed view visited browsed bought buy purchased seen pos neg "
    "liked watched played list"
)
_BAG_WORDS = _set(
    "genres genre tags tag categories keywords keyword interests interest labels topics topic attributes "
    "words terms term class classes title query titles languages features actors"
)
_ID_WORDS = _set("id ids code key name num no")
_SYNONYMS = {"cate": "category", "cat": "category", "cates": "category", "cats": "category"}
_GLUED = sorted(_USER_WORDS | _ITEM_WORDS | {"cate", "cat", "app", "site"}, key=len, reverse=True)


def words(name: str) -> list[str]:
    """The words of a name, in lower case: `userId`, `user_id` and `userid` are all user, id."""
    spaced = re.sub(
        r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+|(?<=[A-Za-z])(?=[0-9])|(?<=[0-9])(?=[A-Za-z])", " ", name
    )
    return [_SYNONYMS.get(part, part) for word in spaced.lower().split() for part in _unglued(word)]


def _unglued(word: str) -> list[str]:
    stem = word[:-2]
    return [stem, "id"] if word.endswith("id") and stem in _GLUED else [word]


def one_of(name: str, known: Iterable[str]) -> bool:
    """Whether a name is among others, whatever its case and its separators."""
    return _plain(name) in {_plain(other) for other in known}


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def rank(name: str, known: tuple[str, ...]) -> int | None:
    """The place of a name in `known`, the likeliest first; None where it is not there."""
    plain = [_plain(other) for other in known]
    return plain.index(_plain(name)) if _plain(name) in plain else None


def says_outcome(name: str) -> bool:
    """Whether a name is that of something that happens after the row is shown."""
    found = words(name)
    return bool(OUTCOMES.intersection(found)) and len(set(found) - OUTCOMES - {"is", "has", "label"}) == 0


def says_time(name: str) -> bool:
    """Whether a name is that of a time."""
    return one_of(name, TIMES) or words(name)[-1:] in (["timestamp"], ["datetime"], ["time"], ["date"])


def says_history(name: str) -> bool:
    """Whether a name is that of earlier behaviour, in order."""
    return bool(_HISTORY_WORDS.intersection(words(name)))


def says_bag(name: str) -> bool:
    """Whether a name is that of several things without order."""
    return bool(_BAG_WORDS.intersection(words(name)[-1:]))


def says_mask(name: str) -> bool:
    """Whether a name is that of a mask: which cells of another list are filled."""
    return bool({"mask", "masks"}.intersection(words(name)))


def says_number(name: str) -> bool:
    """Whether a name is that of a quantity, and not of a class or an id."""
    found = set(words(name))
    return bool(found & _NUMBER_WORDS) and not found & _LEVEL_WORDS


def says_class(name: str) -> bool:
    """Whether a name is that of a class, a version or an id, whatever its values look like."""
    found = set(words(name))
    return bool(found & (_LEVEL_WORDS | _USER_WORDS)) or found <= _ITEM_WORDS - {"price"}


def item_word(name: str) -> str | None:
    """The word of a name that is about what is shown."""
    return next((word for word in words(name) if {word, _singular(word)} & _ITEM_WORDS), None)


def place_word(name: str) -> str | None:
    """The word of a name that is about where something is shown."""
    return next((word for word in words(name) if word in _PLACE_WORDS), None)


def user_word(name: str) -> str | None:
    """The word of a name that is about who looks."""
    return next((word for word in words(name) if word in _USER_WORDS), None)


def stem(name: str) -> tuple[str, ...]:
    """What a column is about: item for `item_id`, `item_history`, `pos_items` and `clicked_item_ids`."""
    left = [w for w in words(name) if w not in _ID_WORDS | _HISTORY_WORDS and not w.isdigit()]
    return tuple(_SYNONYMS.get(single, single) for single in map(_singular, left))


def family(name: str) -> str | None:
    """What numbered columns have in common: I for I1 to I13; None for a name without a number at its end."""
    found = re.fullmatch(r"(.*?[A-Za-z_])[0-9]+", name)
    return found[1] if found else None


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    return word[:-1] if word.endswith("s") and not word.endswith("ss") and len(word) > 3 else word
