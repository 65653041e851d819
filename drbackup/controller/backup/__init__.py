"""One backup run from claim to commit, the validation of an agent's result, and the reconciling of dead runs."""
