"""annotate.html in Chromium from disk: what the mouse painted is downloaded, imported, and trained on, voxel for voxel."""

from __future__ import annotations


def test_x(tasks, browser, tmp_path):
    import os
    task = tasks.seen[0]
    file = task.folder / "annotate.html"
    print(file.stat().st_size)
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    page = context.new_page()
    page.on("console", lambda m: print("CONSOLE", m.type, m.text))
    page.on("pageerror", lambda m: print("ERROR", m))
    page.on("request", lambda m: print("REQUEST", m.url[:100]))
    page.goto(file.as_uri())
    page.wait_for_timeout(3000)
    print(page.evaluate("document.body.dataset.ready"), page.locator("#said").text_content())
    page.screenshot(path="/tmp/off1.png")
    with page.expect_download() as d:
        page.locator("button[data-do=done]").click()
    print(d.value.suggested_filename)
    page.wait_for_timeout(500)
    print(page.locator("#said").text_content())
    page.screenshot(path="/tmp/off2.png")
    page.reload()
    page.wait_for_timeout(2500)
    print(page.evaluate("document.body.dataset.ready"), page.locator("#said").text_content(), page.locator("#start").text_content(), page.locator("#status").text_content())
    page.goto((task.folder.parent / "index.html").as_uri())
    page.screenshot(path="/tmp/off3.png")
    assert 0
