"""Small models as people write them, each a trap for a tool that records one run; the rule stands in rule.py."""
