"""One backup run from claim to commit, the judging of what an agent claims to have sent, and what dead runs left
behind.
"""
