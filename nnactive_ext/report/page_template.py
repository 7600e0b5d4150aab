"""What the report's page is made of: its markup, with places to fill in."""

from __future__ import annotations

from string import Template

PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="$policy">
<title>$title</title>
<style>$style</style>
</head>
<body>
<header>
<h1>$heading</h1>
$header
</header>
$contents
<main>
$sections
</main>
<footer>
<p>$footer</p>
</footer>
<dialog aria-label="Enlarged picture"><img alt=""></dialog>
$scripts
</body>
</html>
""")
