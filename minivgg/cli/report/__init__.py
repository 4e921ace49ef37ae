"""The demo's report: findings.py holds what was found, compose.py and sections.py write it as a page, pictures.py draws."""
