"""Templates in the page: what a publish sends, details, names, files, and drafts."""

from __future__ import annotations

import json
import re
import shutil
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.functional.localstack_support import eventually
from tests.pipeline.install import (
    INPUT_IMAGE,
    SAMPLER_ID,
    SAVE_ID,
    load_crowded,
    load_prompt,
    load_workflow,
)
from tests.web.browser import TIMEOUT_MS, ComfyPage, other_page
from tests.web.designer import Designer
from tests.web.test_page import ensure_endpoint, turn_off, turn_on

pytestmark = [
    pytest.mark.browser,
    pytest.mark.comfyui,
    pytest.mark.stack,
    pytest.mark.slow,
]

expect.set_options(timeout=TIMEOUT_MS)

SEED_IS = """([id, seed]) => window.app.graph.getNodeById(id).widgets
  .find(({ name }) => name === 'seed').value === seed"""

# Frontends have had several names for what they keep, in which a node is as in a saved workflow.
IN_COMFYUIS_COPY = """([id, seed]) => [localStorage, sessionStorage].some((storage) =>
  Object.keys(storage).some((key) => {
    if (!/workflow/i.test(key)) return false
    const found = JSON.stringify(storage[key])
    return found.includes('promptOnAws') && found.includes(`${seed}`)
  }))"""

EMPTY_CORNER = (1150, 640)
"""A place of the canvas with no node, where a click lets ComfyUI look for changes."""


PLAIN: dict[str, Any] = {
    "last_node_id": 2, "last_link_id": 1, "links": [[1, 1, 0, 2, 0, "IMAGE"]], "version": 0.4,
    "nodes": [
        {"id": 1, "type": "EmptyImage", "pos": [0, 0], "size": [210, 130], "mode": 0, "order": 0,
         "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [1]}],
         "widgets_values": [16, 16, 1, 0]},
        {"id": 2, "type": "SaveImage", "pos": [300, 0], "size": [210, 130], "mode": 0, "order": 1,
         "inputs": [{"name": "images", "type": "IMAGE", "link": 1}], "widgets_values": ["plain"]},
    ],
}  # fmt: skip
"""A workflow that has no node of the pipeline."""


def row(page: ComfyPage, name: str) -> Any:
    return page.tab.locator(f"[data-testid=aws-template][data-name={name}]")


def publish_versions(designer: Designer, name: str, seeds: tuple[int, ...] = (1,)) -> None:
    """One version for each seed."""
    if name in designer.template_names():
        designer.call("DELETE", f"/aws/templates/{name}")
    for number, seed in enumerate(seeds):
        body = {"name": name, "workflow": with_seed(load_workflow(), seed),
                "prompt": load_prompt(seed=seed), "new_version": number > 0}  # fmt: skip
        publish = designer.call("POST", "/aws/publishes", body)["publish"]
        while publish["state"] == "running":
            publish = designer.call("GET", f"/aws/publishes/{publish['id']}")["publish"]
        assert publish["state"] == "done", publish


def with_seed(workflow: dict[str, Any], seed: int) -> dict[str, Any]:
    [sampler] = [node for node in workflow["nodes"] if str(node["id"]) == SAMPLER_ID]
    sampler["widgets_values"][0] = seed
    return workflow


def models_in_bucket(designer: Designer) -> list[str]:
    known = designer.call("GET", "/aws/models")["models"]
    return [model["name"] for model in known if model["bucket"]]


def seed_of(page: ComfyPage) -> int:
    return int(
        page.tab.evaluate(
            """(id) => window.app.graph.getNodeById(id).widgets
                 .find((widget) => widget.name === 'seed').value""",
            int(SAMPLER_ID),
        )
    )


def change_seed(page: ComfyPage, seed: int) -> None:
    """As a person would: ComfyUI looks for changes when the mouse button comes up."""
    page.set_widget(SAMPLER_ID, "seed", seed)
    page.tab.mouse.click(*EMPTY_CORNER)


def open_details(page: ComfyPage, name: str) -> None:
    row(page, name).hover()
    page.tab.get_by_role("button", name=f"Details of {name}", exact=True).click()
    expect(page.find("aws-details-title")).to_have_text(name)


def test_the_dialog_says_what_a_publish_sends_and_takes_a_cover(page, stack):
    # Something that no other test has published.
    pack = stack.process.base_dir / "custom_nodes" / "tiny_conditioning"
    (pack / "new.txt").write_text("covered")
    page.load(load_workflow())
    page.show_connected_panel()
    page.run()
    page.wait_for_image(SAVE_ID)
    page.find("aws-new-workflow").click()
    expect(page.find("aws-preflight-head")).to_contain_text(
        "Models: 3, inputs: 1, node packs: 1, together"
    )
    expect(page.find("aws-preflight-send")).to_contain_text("sent")
    page.find("aws-preflight-details").locator("summary").click()
    expect(page.find("aws-preflight-details")).to_contain_text("tiny_sd3.safetensors")
    expect(page.find("aws-name-cover")).to_be_visible()
    page.find("aws-name-input").fill("Covered")
    page.find("aws-name-description").fill("A small test")
    # The form shows what the rules find, until somebody says otherwise.
    page.find("aws-name-form").locator("summary").click()
    ticked = page.find("aws-choices").locator("[data-testid=aws-choice-show]:checked")
    expect(page.find("aws-name-form-note")).to_contain_text("what the rules find")
    found = ticked.count()
    assert found > 1
    for box in ticked.all()[::-1]:
        box.uncheck()
    expect(page.find("aws-name-form-note")).to_contain_text("what the rules find")
    page.find("aws-name-form-rule").click()
    expect(ticked).to_have_count(found)
    for box in ticked.all()[::-1]:
        box.uncheck()
    line = page.tab.locator(f"[data-testid=aws-choice-row][data-name='{SAMPLER_ID}.steps']")
    line.get_by_test_id("aws-choice-show").check()
    line.get_by_test_id("aws-choice-label").fill("Effort")
    expect(page.find("aws-name-form-note")).to_have_text("")
    page.find("aws-name-ok").click()
    expect(page.toast("“Covered” is published")).to_be_visible()

    [made] = [t for t in stack.call("GET", "/aws/templates")["templates"] if t["name"] == "Covered"]
    assert made["description"] == "A small test"
    effort = {"node": SAMPLER_ID, "input": "steps", "label": "Effort"}
    assert made["parameters"] == [effort]
    assert made["cover"]["size"] > 0
    image = row(page, "Covered").locator("img")
    expect(image).to_be_visible()
    page.tab.wait_for_function("(image) => image.naturalWidth === 128", arg=image.element_handle())
    expect(row(page, "Covered")).to_contain_text("v1 ·")
    expect(page.find("aws-draft-text")).to_have_text("Published version 1.")

    page.find("aws-new-workflow").click()
    expect(page.find("aws-preflight-send")).to_have_text("All of it is in the bucket already.")
    page.find("aws-name-use-cover").uncheck()
    page.find("aws-name-input").fill("Bare")
    page.find("aws-name-ok").click()
    expect(page.toast("“Bare” is published")).to_be_visible()
    bare = stack.call("GET", "/aws/templates/Bare")["template"]
    assert (bare["cover"], bare["parameters"]) == (None, [])

    # A new version begins with what the template shows, and tells what it cannot show any more.
    page.load(PLAIN)
    page.find("aws-new-workflow").click()
    page.find("aws-name-input").fill("Covered")
    page.find("aws-name-new-version").check()
    page.find("aws-name-form").locator("summary").click()
    expect(line).to_have_count(0)
    page.find("aws-name-ok").click()
    expect(page.toast("The form of “Covered” shows less")).to_be_visible()
    expect(page.toast("Gone with their nodes: Effort.")).to_be_visible()
    assert stack.call("GET", "/aws/templates/Covered")["template"]["parameters"] == []


def test_what_is_missing_is_told_before_and_marked_on_the_canvas(page, stack):
    unsent = f"unsent-{uuid.uuid4().hex[:6]}.safetensors"  # the test may be tried again
    stack.add_model(unsent, 4096)
    text = json.dumps(load_workflow()).replace(INPUT_IMAGE, "gone.png")
    page.load(json.loads(text.replace("tiny_sd3.safetensors", unsent)))
    page.show_connected_panel()
    page.find("aws-new-workflow").click()
    expect(page.find("aws-preflight-findings")).to_contain_text("gone.png")
    expect(page.find("aws-preflight-head")).to_contain_text("1 missing")
    page.find("aws-preflight-push").click()
    expect(page.find("aws-preflight-send")).to_contain_text("on their way")
    expect(page.find("aws-preflight-push")).to_be_hidden()
    eventually(lambda: unsent in models_in_bucket(stack), "the model is sent")
    for sent in stack.call("GET", "/aws/models/transfers")["transfers"]:
        stack.call("DELETE", f"/aws/models/transfers/{sent['id']}")
    page.find("aws-preflight-show").click()
    expect(page.find("aws-name-dialog")).to_have_count(0)
    selected = "() => Object.values(window.app.canvas.selected_nodes).map((node) => node.type)"
    assert page.tab.evaluate(selected) == ["LoadImage"]

    page.find("aws-new-workflow").click()
    page.find("aws-name-input").fill("Incomplete")
    page.find("aws-name-ok").click()
    expect(page.toast("“Incomplete” was not published")).to_be_visible()
    outlined = """() => window.app.graph.nodes
      .filter((node) => node.strokeStyles?.promptOnAws?.()?.color).map((node) => node.type)"""
    assert page.tab.evaluate(outlined) == ["LoadImage"]
    assert "Incomplete" not in stack.template_names()


def test_what_may_stand_in_a_form_is_told_apart_by_its_subgraph(page, stack):
    stack.publish("Subgraphs", *load_crowded())
    page.show_connected_panel()
    open_details(page, "Subgraphs")
    page.find("aws-choice").locator("summary").click()
    expect(page.find("aws-choice-row").first).to_be_visible()
    rows = page.find("aws-choice-row").all_inner_texts()
    assert {f"Day · KSampler · steps ({place}:{SAMPLER_ID})" for place in (20, 21)} < set(rows)
    assert "Night · KSampler · steps" in rows
    assert len(set(rows)) == len(rows)


def test_search_details_versions_and_roll_back(page, stack):
    publish_versions(stack, "Versions", seeds=(11, 22))
    publish_versions(stack, "Another")
    page.show_connected_panel()
    page.find("aws-template-search").fill("vers")
    expect(row(page, "Another")).to_be_hidden()
    expect(row(page, "Versions")).to_be_visible()
    page.find("aws-template-search").fill("nothing like it")
    expect(page.find("aws-templates-none")).to_contain_text("nothing like it")
    page.find("aws-template-search").fill("")

    open_details(page, "Versions")
    # The form shows what is chosen for it, under the names and in the order that are given.
    page.find("aws-choice").locator("summary").click()
    ticked = page.find("aws-choices").locator("[data-testid=aws-choice-show]:checked")
    expect(ticked.first).to_be_visible()
    found = ticked.count()
    assert found > 1
    for box in ticked.all()[::-1]:
        box.uncheck()
    expect(page.find("aws-choice-save")).to_be_disabled()
    for name, called in (("seed", "Dice"), ("steps", "Effort")):
        line = page.tab.locator(f"[data-testid=aws-choice-row][data-name='{SAMPLER_ID}.{name}']")
        line.get_by_test_id("aws-choice-show").check()
        line.get_by_test_id("aws-choice-label").fill(called)
    page.find("aws-choice-save").click()
    expect(page.find("aws-choice-note")).to_have_text("The form is saved.")
    expect(ticked).to_have_count(2)
    page.find("aws-choice-up").nth(1).click()
    page.find("aws-choice-save").click()
    with page.tab.context.expect_page() as opened:
        page.find("aws-details-form").click()
    labels = opened.value.locator("form label").filter(has_text=re.compile("Dice|Effort"))
    expect(labels).to_have_text(["Effort", "Dice"])
    opened.value.close()

    # A new version begins with what was saved just now.
    page.find("aws-details-close").click()
    page.load(load_workflow())
    page.find("aws-new-workflow").click()
    page.find("aws-name-input").fill("Versions")
    page.find("aws-name-new-version").check()
    page.find("aws-name-form").locator("summary").click()
    expect(ticked).to_have_count(2)
    for name, called in (("steps", "Effort"), ("seed", "Dice")):
        line = page.tab.locator(f"[data-testid=aws-choice-row][data-name='{SAMPLER_ID}.{name}']")
        expect(line.get_by_test_id("aws-choice-label")).to_have_value(called)
    page.find("aws-name-cancel").click()
    open_details(page, "Versions")
    page.find("aws-choice").locator("summary").click()
    page.find("aws-choice-rule").click()
    expect(ticked).to_have_count(found)

    versions = page.find("aws-version")
    expect(versions).to_have_count(2)
    expect(versions.first).to_have_attribute("data-current", "true")
    expect(page.find("aws-changes")).to_contain_text(f"{SAMPLER_ID}.seed")
    expect(page.find("aws-changes")).to_contain_text("11 → 22")
    page.find("aws-rollback").click()
    expect(versions.last).to_have_attribute("data-current", "true")
    assert stack.call("GET", "/aws/templates/Versions")["version"] == 1
    expect(page.find("aws-details-title")).to_be_focused()
    page.tab.evaluate("() => document.activeElement.blur()")
    page.tab.keyboard.press("Escape")
    expect(page.find("aws-details")).to_have_count(0)
    expect(row(page, "Versions")).to_contain_text("v1 ·")

    open_details(page, "Another")
    page.find("aws-details-delete").click()
    page.tab.locator("[role=dialog]").get_by_role("button", name="Delete").click()
    expect(row(page, "Another")).to_have_count(0)


def test_a_template_is_renamed_and_edited(page, stack):
    for name in ("Before", "Owned"):
        publish_versions(stack, name)
    aside = drafts_of(stack, "Before", "100000") / "2026-01-02T03-04-05-678Z.json"
    aside.parent.mkdir(parents=True)
    aside.write_text(json.dumps(load_workflow()))
    if "After" in stack.template_names():
        stack.call("DELETE", "/aws/templates/After")
    page.show_connected_panel()
    row(page, "Before").click()
    expect(row(page, "Before")).to_have_attribute("aria-current", "true")
    open_details(page, "Before")
    field = page.find("aws-rename-input")
    field.fill("Owned")
    expect(page.find("aws-rename-message")).to_contain_text("exists already")
    field.fill("no spaces")
    expect(page.find("aws-rename-message")).to_contain_text("a space is not one")
    field.fill("After")
    expect(page.find("aws-rename-message")).to_have_text("This name is free.")
    page.find("aws-edit-description").fill("Now with words")
    # What stays as it is is not sent: its endpoint may be gone.
    with page.tab.expect_request(lambda request: request.method == "PATCH") as changed:
        page.find("aws-edit-save").click()
    assert changed.value.post_data_json == {"description": "Now with words"}
    expect(page.find("aws-details-title")).to_have_text("After")
    page.find("aws-details-close").click()
    expect(row(page, "After")).to_have_attribute("aria-current", "true")
    expect(row(page, "Before")).to_have_count(0)
    assert stack.call("GET", "/aws/templates/After")["template"]["description"] == "Now with words"
    expect(page.find("aws-draft-text")).to_have_text("Published version 1.")

    # Its earlier drafts have come along, and can be opened by their time.
    page.find("aws-draft-all").click()
    expect(page.find("aws-draft-row")).to_have_count(1)
    expect(page.find("aws-draft-row")).to_contain_text("2026")
    page.find("aws-draft-open").click()
    expect(page.find("aws-drafts")).to_have_count(0)
    expect(page.find("aws-draft-published")).to_be_visible()
    assert not aside.exists()


def drafts_of(designer: Designer, template: str, mask: str) -> Path:
    """The folder of a template's earlier drafts; `mask` tells its capitals."""
    bucket = designer.call("GET", "/aws/status")["bucket"]
    user = designer.process.base_dir / "user" / "default"
    return user / "aws-drafts" / str(bucket) / f"{template}~{mask}"


def test_a_template_goes_out_as_a_file_and_comes_in(page, stack, tmp_path: Path):
    publish_versions(stack, "Packed")
    if "Unpacked" in stack.template_names():
        stack.call("DELETE", "/aws/templates/Unpacked")
    page.show_connected_panel()
    open_details(page, "Packed")
    page.find("aws-export-files").check()
    with page.tab.expect_download() as download:
        page.find("aws-export").click()
    file = tmp_path / "Packed.zip"
    download.value.save_as(file)
    page.find("aws-details-close").click()

    page.find("aws-templates-import").click()
    page.find("aws-import-ok").click()
    expect(page.find("aws-import-problem")).to_have_text("Choose a file.")
    page.find("aws-import-file").set_input_files(file)
    expect(page.find("aws-import-name-input")).to_have_value("Packed")
    page.find("aws-import-ok").click()
    expect(page.find("aws-import-name-message")).to_contain_text("exists already")
    page.find("aws-import-name-input").fill("Unpacked")
    page.find("aws-import-ok").click()
    expect(page.find("aws-import-dialog")).to_have_count(0)
    expect(row(page, "Unpacked")).to_be_visible()

    (tmp_path / "bad.zip").write_bytes(file.read_bytes()[:-100])
    page.find("aws-templates-import").click()
    page.find("aws-import-file").set_input_files(tmp_path / "bad.zip")
    page.find("aws-import-name-input").fill("Broken")
    page.find("aws-import-ok").click()
    expect(page.find("aws-import-problem")).to_contain_text("damaged")
    assert "Broken" not in stack.template_names()


def test_each_environment_keeps_its_draft(page, stack, browser: Browser):
    for name, seed in (("DraftA", 100), ("DraftB", 200)):
        publish_versions(stack, name, seeds=(seed,))
    page.show_connected_panel()
    row(page, "DraftA").click()
    expect(page.find("aws-draft-text")).to_have_text("Published version 1.")
    assert seed_of(page) == 100
    change_seed(page, 101)
    expect(page.find("aws-draft-text")).to_have_text("Draft, kept for you alone.")

    # A change that is a moment old is kept by the switch itself.
    change_seed(page, 102)
    row(page, "DraftB").click()
    expect(row(page, "DraftB")).to_have_attribute("aria-current", "true")
    assert seed_of(page) == 200
    row(page, "DraftA").click()
    expect(row(page, "DraftA")).to_have_attribute("aria-current", "true")
    assert seed_of(page) == 102

    page.find("aws-draft-published").click()
    expect(page.find("aws-draft-text")).to_have_text("Published version 1.")
    assert seed_of(page) == 100
    page.find("aws-draft-earlier").click()
    expect(page.find("aws-draft-published")).to_be_visible()
    assert seed_of(page) == 102

    change_seed(page, 103)
    page.reload()
    page.show_connected_panel()
    row(page, "DraftA").click()
    expect(row(page, "DraftA")).not_to_have_attribute("aria-busy", "true")
    expect(page.find("aws-draft-published")).to_be_visible()
    assert seed_of(page) == 103
    assert stack.call("GET", "/aws/templates/DraftA")["version"] == 1

    # Another browser of the same user has the same draft.
    with other_page(browser, stack.url) as other:
        other.show_connected_panel()
        row(other, "DraftA").click()
        expect(row(other, "DraftA")).to_have_attribute("aria-current", "true")
        assert seed_of(other) == 103


def test_what_comfyui_brings_back_takes_no_drafts_place(page, stack):
    """Its own copy of a tab may be older than the draft that the tab was kept as."""
    publish_versions(stack, "Stale", seeds=(400,))
    page.show_connected_panel()
    row(page, "Stale").click()
    expect(page.find("aws-draft-text")).to_have_text("Published version 1.")
    folder = drafts_of(stack, "Stale", "10000")
    draft = folder.with_name(f"{folder.name}.json")
    change_seed(page, 401)
    wait_for_draft(draft, 401)
    expect(page.find("aws-draft-text")).to_have_text("Draft, kept for you alone.")

    def reload_with(seed: int) -> None:
        """As if ComfyUI had kept its copy before the last change."""
        draft.write_text(json.dumps(with_seed(json.loads(draft.read_text()), seed)))
        page.tab.wait_for_function(IN_COMFYUIS_COPY, arg=[int(SAMPLER_ID), seed_of(page)])
        page.reload()
        page.show_connected_panel()
        page.tab.wait_for_function("() => window.app.graph.extra.promptOnAws")

    # A switch shows the draft; the copy is put aside.
    reload_with(402)
    assert seed_of(page) == 401
    row(page, "Stale").click()
    expect(row(page, "Stale")).not_to_have_attribute("aria-busy", "true")
    page.tab.wait_for_function(SEED_IS, arg=[int(SAMPLER_ID), 402])
    assert seed_in(draft) == 402
    wait_for_asides(folder, 401)

    # Who goes on with the copy has it as the draft; the draft is put aside.
    change_seed(page, 403)
    wait_for_draft(draft, 403)
    reload_with(404)
    assert seed_of(page) == 403
    change_seed(page, 405)
    wait_for_draft(draft, 405)
    wait_for_asides(folder, 401, 404)


def test_a_draft_of_a_stopped_stack_is_there_once_it_runs(page, stack):
    publish_versions(stack, "Stopped", seeds=(500,))
    page.show_connected_panel()
    row(page, "Stopped").click()
    expect(page.find("aws-draft-text")).to_have_text("Published version 1.")
    folder = drafts_of(stack, "Stopped", "1000000")
    page.tab.wait_for_function(IN_COMFYUIS_COPY, arg=[int(SAMPLER_ID), 500])
    stack.set_stack("stop")
    page.reload()
    page.show_panel()
    expect(page.find("aws-stack-start")).to_be_enabled()
    page.tab.wait_for_function("() => window.app.graph.extra.promptOnAws")
    change_seed(page, 501)
    expect(page.find("aws-stack-start")).to_be_visible()
    wait_for_draft(folder.with_name(f"{folder.name}.json"), 501)

    page.find("aws-stack-start").click()
    expect(page.find("aws-new-workflow")).to_be_visible()
    row(page, "Stopped").click()
    expect(row(page, "Stopped")).not_to_have_attribute("aria-busy", "true")
    expect(page.find("aws-draft-text")).to_have_text("Draft, kept for you alone.")
    assert seed_of(page) == 501


def test_local_work_is_there_after_a_visit_to_a_template(page, stack):
    publish_versions(stack, "Visited", seeds=(300,))
    page.load(load_workflow(), name="mine")
    page.show_connected_panel()
    change_seed(page, 7)
    expect(page.find("aws-draft-text")).to_have_text("Kept as the draft of Local.")
    row(page, "Visited").click()
    expect(row(page, "Visited")).to_have_attribute("aria-current", "true")
    assert seed_of(page) == 300
    page.find("aws-local").click()
    expect(page.find("aws-local")).to_have_attribute("aria-current", "true")
    assert seed_of(page) == 7

    # What is on its way when the page closes is kept by the next one.
    page.tab.route("**/userdata/aws-drafts*", lambda route: None)
    with page.tab.expect_request("**/userdata/aws-drafts*"):
        change_seed(page, 8)
    page.tab.unroute("**/userdata/aws-drafts*")
    page.reload()
    drafts = stack.process.base_dir / "user" / "default" / "aws-drafts"
    wait_for_draft(drafts / "local.json", 8)


def test_two_tabs_of_local_work_are_both_kept(page, stack):
    """Each has one file, however often they take turns."""
    folder = stack.process.base_dir / "user" / "default" / "aws-drafts" / "local"
    shutil.rmtree(folder, ignore_errors=True)
    folder.with_suffix(".json").unlink(missing_ok=True)
    for name, seed in (("first", 21), ("second", 22)):
        page.load(load_workflow(), name=name)
        page.show_connected_panel()
        change_seed(page, seed)
        wait_for_draft(folder.with_suffix(".json"), seed)
    wait_for_asides(folder, 21)
    for seed, way in ((31, "Previous"), (32, "Next"), (33, "Previous"), (34, "Next")):
        page.tab.evaluate(
            "(id) => window.app.extensionManager.command.execute(id)",
            f"Workspace.{way}OpenedWorkflow",
        )
        page.tab.wait_for_timeout(300)
        change_seed(page, seed)
        wait_for_draft(folder.with_suffix(".json"), seed)
    wait_for_asides(folder, 33)

    page.find("aws-draft-all").click()
    page.find("aws-draft-open").click()
    expect(page.find("aws-drafts")).to_have_count(0)
    wait_for_draft(folder.with_suffix(".json"), 33)
    expect(page.find("aws-draft-text")).to_have_text("Kept as the draft of Local.")
    page.tab.wait_for_function(SEED_IS, arg=[int(SAMPLER_ID), 33])
    wait_for_asides(folder, 34)


def seed_in(draft: Path) -> int:
    try:
        nodes = json.loads(draft.read_text())["nodes"]
    except (OSError, ValueError):
        return 0  # just being written
    return int(next(n for n in nodes if str(n["id"]) == SAMPLER_ID)["widgets_values"][0])


def wait_for_asides(folder: Path, *seeds: int) -> None:
    """Until these and no others are put aside: one that is not needed any more goes last."""
    eventually(
        lambda: folder.is_dir() and sorted(map(seed_in, folder.iterdir())) == list(seeds),
        f"the drafts put aside have the seeds {seeds}",
    )


def wait_for_draft(draft: Path, seed: int) -> None:
    deadline = time.monotonic() + TIMEOUT_MS / 1000
    while seed_in(draft) != seed:
        assert time.monotonic() < deadline, f"the draft with the seed {seed} is not kept"
        time.sleep(0.05)


def test_a_jobs_workflow_takes_no_drafts_place(page, stack):
    ensure_endpoint(stack)
    publish_versions(stack, "Lender", seeds=(600,))
    stack.call("PATCH", "/aws/templates/Lender", {"endpoint": stack.endpoints()[0]["name"]})
    page.show_connected_panel()
    row(page, "Lender").click()
    expect(page.find("aws-draft-text")).to_have_text("Published version 1.")
    change_seed(page, 601)
    folder = drafts_of(stack, "Lender", "100000")
    draft = folder.with_name(f"{folder.name}.json")
    wait_for_draft(draft, 601)
    turn_on(page)
    line = page.tab.locator(f"[data-testid=aws-job][data-id={json.dumps(page.run())}]")
    expect(line).to_have_attribute("data-state", "succeeded", timeout=2 * TIMEOUT_MS)
    turn_off(page)
    change_seed(page, 602)
    wait_for_draft(draft, 602)

    line.get_by_test_id("aws-job-more").click()
    line.get_by_test_id("aws-job-load").click()
    expect(page.find("aws-draft-text")).to_contain_text("A job’s workflow.")
    assert seed_of(page) == 601
    row(page, "Lender").click()
    expect(page.find("aws-draft-text")).to_have_text("Draft, kept for you alone.")
    assert seed_of(page) == 602
    assert seed_in(draft) == 602
    assert not folder.exists(), "nothing was put aside"

    # Whoever changes it has it as the draft, and finds the one of before.
    line.get_by_test_id("aws-job-load").click()
    expect(page.find("aws-draft-text")).to_contain_text("A job’s workflow.")
    change_seed(page, 603)
    wait_for_draft(draft, 603)
    expect(page.find("aws-draft-text")).to_have_text("Draft, kept for you alone.")
    wait_for_asides(folder, 602)


def test_a_deleted_template_leaves_no_draft_to_another_of_its_name(page, stack):
    publish_versions(stack, "Gone", seeds=(500,))
    page.show_connected_panel()
    row(page, "Gone").click()
    expect(page.find("aws-draft-text")).to_have_text("Published version 1.")
    change_seed(page, 501)
    expect(page.find("aws-draft-text")).to_have_text("Draft, kept for you alone.")
    change_seed(page, 503)  # a moment ago, so that it is not kept yet
    page.tab.get_by_role("button", name="Delete template Gone").click()
    page.tab.locator("[role=dialog]").get_by_role("button", name="Delete").click()
    expect(row(page, "Gone")).to_have_count(0)
    expect(page.find("aws-draft-text")).not_to_contain_text("Draft, kept for you alone.")

    publish_versions(stack, "Gone", seeds=(502,))  # a colleague's
    row(page, "Gone").click()
    expect(page.find("aws-draft-text")).to_have_text("Published version 1.")
    assert seed_of(page) == 502
    wait_for_asides(drafts_of(stack, "Gone", "1000"), 503)
