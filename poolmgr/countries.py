"""Countries by their ISO 3166-1 codes, and the continents that they are in, by the codes that regional pools use."""

from __future__ import annotations

import re
from collections.abc import Mapping

from poolmgr.errors import ParseError

_OF_CONTINENT: Mapping[str, str] = {
    "af": (
        "ao bf bi bj bw cd cf cg ci cm cv dj dz eg eh er et ga gh gm gn gq gw ke km lr ls ly ma mg ml mr mu mw mz na "
        "ne ng re rw sc sd sh sl sn so ss st sz td tg tn tz ug yt za zm zw"
    ),
    "an": "aq bv gs hm tf",
    "as": (
        "ae af am az bd bh bn bt cc cn ge hk id il in io iq ir jo jp kg kh kp kr kw kz la lb lk mm mn mo mv my np om "
        "ph pk ps qa sa sg sy th tj tm tr tw uz vn ye"
    ),
    "eu": (
        "ad al at ax ba be bg by ch cy cz de dk ee es fi fo fr gb gg gi gr hr hu ie im is it je li lt lu lv mc md me "
        "mk mt nl no pl pt ro rs ru se si sj sk sm ua va xk"
    ),
    "na": (
        "ag ai aw bb bl bm bq bs bz ca cr cu cw dm do gd gl gp gt hn ht jm kn ky lc mf mq ms mx ni pa pm pr sv sx tc "
        "tt us vc vg vi"
    ),
    "oc": "as au ck cx fj fm gu ki mh mp nc nf nr nu nz pf pg pn pw sb tk tl to tv um vu wf ws",
    "sa": "ar bo br cl co ec fk gf gy pe py sr uy ve",
}
"""Where geonames.org has them: Russia and Cyprus are in Europe, Turkey is in Asia. xk stands for Kosovo."""

CONTINENTS = tuple(sorted(_OF_CONTINENT))
"""Africa, Antarctica, Asia, Europe, North America with the Caribbean, Oceania, South America."""

_CONTINENTS: Mapping[str, str] = {
    country: continent for continent, countries in _OF_CONTINENT.items() for country in countries.split()
}


def parse_country(text: str) -> str:
    """Return the country code that `text` is, in lower case. Raises ParseError for anything but two ASCII letters."""
    if not re.fullmatch("[A-Za-z]{2}", text):
        raise ParseError(f"{text[:60]!a} is not a country: give its two letters of ISO 3166-1, such as de")
    return text.lower()


def continent_of(country: str) -> str | None:
    """Return the continent that `country`, a code in lower case, is in; None where the code is not assigned."""
    return _CONTINENTS.get(country)
