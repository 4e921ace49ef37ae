"""The gradient check: subjects, differences, the comparison, and what a wrong gradient says of the mistake."""
