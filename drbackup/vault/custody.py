"""The custodians' shares of the recovery key (SLIP-39 words, by a well-kept library).

No private half of the recovery key is ever written by this program: it exists as shares only. Apart from ``keys`` so
that the agent's bundle need not carry it.
"""

from __future__ import annotations

from collections.abc import Sequence

import shamir_mnemonic

from drbackup.errors import FormatUnsupported, UsageError, WrongKey, say
from drbackup.vault.suite import KEY_SIZE


def split_seed(seed: bytes, threshold: int, shares: int) -> list[str]:
    """SLIP-39 word shares of a 32-byte seed: any ``threshold`` of ``shares`` bring it back."""
    if not 1 <= threshold <= shares <= 16 or (threshold == 1 and shares > 1):
        raise UsageError(
            say("{threshold} of {shares} custodians can't be done", threshold=threshold, shares=shares),
            hint="use for example 3-of-5",
        )
    return list(shamir_mnemonic.generate_mnemonics(1, [(threshold, shares)], seed)[0])


def join_shares(shares: Sequence[str]) -> bytes:
    """The seed again. Raises :class:`WrongKey` when the shares are too few, damaged or of different sets."""
    try:
        seed: bytes = shamir_mnemonic.combine_mnemonics([" ".join(share.split()) for share in shares])
    except shamir_mnemonic.MnemonicError as bad:
        raise WrongKey(
            say("the shares do not join: {why}", why=bad), hint="check each share's words, and how many are needed"
        ) from bad
    if len(seed) != KEY_SIZE:
        raise FormatUnsupported("the shares hold something else than a drbackup recovery key")
    return seed
