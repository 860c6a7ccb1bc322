"""A primary that Sentinel looks after: which server it is now.

    url.py       redis+sentinel:// and rediss+sentinel://, read strictly
    answers.py   pure: who is asked, and which of the answers counts
    sync.py      asks, and connects to what was named: for threads
    aio.py       the same for asyncio

Every connection asks anew when it is made, and the server that was named has to say itself that it is a
primary. One that stays open is compared with what the sentinels say each `RECHECK_SECONDS` in which it is
used: an old primary that lives on beside the new one would take events that nobody ever gets.
"""
