"""Who may do what: tokens, keys, claims, grants. No I/O and no clock.

A request carries at most one credential (`credentials`). A token names its key (`tokens`, `keys`) and says
what its bearer may do (`claims`), which is a `Grant` (`grants`). Whatever is wrong is a `Refused`:

    Refused        the request may not do this; `Refusal` is the closed set of reasons
    BadKeys        a file, or an answer of the issuer, holds no keys that can be used

None of them holds anything of a token, a ticket or a key.
"""
