"""What the report's page is made of: its markup, with places to fill in."""

from __future__ import annotations

from string import Template

from nnactive_ext.exchange.page_template import HEAD

PAGE = Template(f"""{HEAD}<body>
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
