"""The custodians' shares of the recovery key, as SLIP-39 words. The library shamir-mnemonic makes and joins them.

The private half of the recovery key is never written by this program: it exists as shares only. This module is apart
from :mod:`drbackup.vault.keys` because the agent's bundle does not carry it.
"""

from __future__ import annotations

from collections.abc import Sequence

import shamir_mnemonic

from drbackup.errors import FormatUnsupported, UsageError, WrongKey, say
from drbackup.vault.suite import KEY_SIZE


def split_seed(seed: bytes, threshold: int, shares: int) -> list[str]:
    """The SLIP-39 shares of a 32-byte seed, as words: any ``threshold`` of the ``shares`` bring it back.

    Raises :class:`UsageError` for numbers that make no such set; there are at most 16 shares.
    """
    if not 1 <= threshold <= shares <= 16 or (threshold == 1 and shares > 1):
        raise UsageError(
            say("{threshold} of {shares} custodians can't be done", threshold=threshold, shares=shares),
            hint="use for example 3-of-5",
        )
    return list(shamir_mnemonic.generate_mnemonics(1, [(threshold, shares)], seed)[0])


def join_shares(shares: Sequence[str]) -> bytes:
    """The 32-byte seed that the shares were made of.

    Raises :class:`WrongKey` when the shares are too few, damaged or of different sets. Raises
    :class:`FormatUnsupported` when they hold a secret of another length.
    """
    try:
        seed: bytes = shamir_mnemonic.combine_mnemonics([" ".join(share.split()) for share in shares])
    except shamir_mnemonic.MnemonicError as bad:
        raise WrongKey(
            say("the shares do not join: {why}", why=bad), hint="check each share's words, and how many are needed"
        ) from bad
    if len(seed) != KEY_SIZE:
        raise FormatUnsupported("the shares hold something else than a drbackup recovery key")
    return seed
