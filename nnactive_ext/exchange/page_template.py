"""What the index page is made of: its markup, with places to fill in."""

from __future__ import annotations

from string import Template

HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="$policy">
<title>$title</title>
<style>$style</style>
</head>
"""

PAGE = Template(f"""{HEAD}<body>
<header>
<h1>$title</h1>
<p class="counts">$counts</p>
<dl class="facts">$facts</dl>
$next
</header>
<section class="how">
<h2>What to do</h2>
<ol>
<li><strong>Open a task</strong> in the viewer you like; <code>TASK</code> is its folder beside this page.
<ul>
<li>3D Slicer: <code>Slicer --python-script TASK/open_in_slicer.py</code></li>
<li>ITK-SNAP: <code>itksnap -w TASK/task.itksnap</code></li>
<li>MITK: open the task list beside this page, <code>…_mitk.json</code>; it leads from task to task</li>
<li>napari: drop the folder <code>TASK</code> on the window, with the reader of nnactive-ext</li>
</ul></li>
<li><strong>Paint inside the box.</strong> Correct what the model predicts, or start from nothing. What stays unpainted in the
box counts as background; paint what you are unsure of as <code>ignore</code>. Outside the box nothing is needed.</li>
<li><strong>Save</strong> in the task's folder, under the name that the viewer proposes, even if nothing had to
be changed. Then hand in; <code>$folder</code> is
the folder of this page:<code class="command">nnactive_annotate import -d $number $quoted -who YOUR_NAME</code></li>
</ol>
<p class="hint">More about each viewer is in <a href="README.txt">README.txt</a>.</p>
</section>
<section>
<h2>Classes</h2>
<ul class="legend">$legend</ul>
<p class="hint">The white frame is the box to annotate; coloured lines in it are what the model predicts, or what is
labelled so far. Pictures show the
slices through the middle of the box, with the patient's right on the left. H head, F feet, A front, P back, R right,
L left; positions are in mm from the origin of the scanner's coordinates.</p>
</section>
<form class="filters" hidden>
<label>Case <select id="by-case"><option value="">all</option></select></label>
<label>Class in the box <select id="by-class"><option value="">any</option></select></label>
<label><input type="checkbox" id="hide-done"> Hide done tasks</label>
<button type="reset">Show all</button>
<output aria-live="polite"></output>
</form>
<main>
$cards
</main>
<script>$script</script>
</body>
</html>
""")

CARD = Template("""<article id="$anchor" data-status="$status" data-case="$case" data-classes="$classes">
<div class="head"><h2>$id</h2><span class="status">$badge</span><span class="case">case $case</span></div>
<div class="body">
<div class="pictures">$pictures</div>
<div class="facts">
$note<dl>
<dt>Why this box</dt><dd>$why</dd>
<dt>$source</dt><dd>$content</dd>
<dt>Box</dt><dd>$box</dd>
<dt>Image</dt><dd>$image</dd>
</dl>
<p class="links"><a href="$folder_link">Folder</a> <a href="$label_link">Label map</a></p>
<details><summary>Open in a viewer</summary>
<p>3D Slicer<code class="command">Slicer --python-script $slicer</code></p>
<p>ITK-SNAP<code class="command">itksnap -w $itksnap</code></p>
</details>
</div>
</div>
</article>
""")

FIGURE = Template(
    '<figure class="$plane"><img src="data:image/png;base64,$data" width="$width" height="$height" alt="$alt">'
    "<figcaption><b>$name</b> at $at<br>box $extent</figcaption></figure>"
)
