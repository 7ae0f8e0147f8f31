"""What artists do: templates on a port without packs or models, and templates as forms."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, FilePayload, Locator, Page, Route, expect

from tests.comfy.comfyui_process import ComfyUIProcess
from tests.functional.localstack_support import eventually
from tests.pipeline.install import (
    CONDITIONING_ID,
    LOAD_ID,
    PIPELINE,
    SAMPLER_ID,
    SAVE_ID,
    load_crowded,
)
from tests.web.browser import RUN_TIMEOUT_MS, TIMEOUT_MS, ComfyPage, fresh_page, hold
from tests.web.designer import FOREIGN, Designer
from tests.web.test_access import AXE, LOOK, MOST_STOPS, PALETTES
from tests.web.test_page import ensure_endpoint, ensure_template

pytestmark = [
    pytest.mark.browser,
    pytest.mark.comfyui,
    pytest.mark.stack,
    pytest.mark.slow,
]

NAME, USER = "Artists", "nia_1"
PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def port(designer: Designer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyUIProcess]:
    """A ComfyUI for artists that has neither the test pipeline's pack nor its models."""
    if not designer.call("GET", "/aws/status")["stack"]["running"]:
        designer.set_stack("start")
    ensure_endpoint(designer)
    ensure_template(designer, NAME)
    env: dict[str, str | None] = {name: None for name in os.environ if name.startswith(FOREIGN)}
    env |= {"COMFY_AWS_HOME": str(designer.home), "COMFY_AWS_ROLE": "inference"}
    with ComfyUIProcess(tmp_path_factory.mktemp("port"), with_extension=True, env=env) as process:
        yield process


@pytest.fixture
def artist(browser: Browser, port: ComfyUIProcess) -> Iterator[ComfyPage]:
    """A tab on the port's ComfyUI."""
    with fresh_page(browser, port.url) as page:
        yield page


@pytest.fixture
def form(browser: Browser, port: ComfyUIProcess) -> Iterator[Page]:
    """The template's form on a phone."""
    context = browser.new_context(viewport=PHONE, color_scheme="dark")
    tab = context.new_page()
    tab.set_default_timeout(TIMEOUT_MS)
    errors: list[str] = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    # As ComfyUI's own page keeps it, where it has several users.
    tab.add_init_script(f"localStorage.setItem('Comfy.userId', '{USER}')")
    tab.goto(f"{port.url}/aws/form?template={NAME}")
    try:
        yield tab
        assert errors == []
    finally:
        context.close()


def field(form: Page, name: str) -> str:
    """Selector of the control of a parameter."""
    return f'[data-testid=aws-form-field][data-name="{name}"] :is(textarea, select, input)'


def tab_to(control: Locator) -> None:
    """Press Tab until the control has the focus, visibly."""
    for _ in range(MOST_STOPS):
        if control.evaluate("(control) => control === document.activeElement"):
            break
        control.page.keyboard.press("Tab")
    expect(control).to_be_focused()
    outline = control.evaluate("(control) => getComputedStyle(control).outlineStyle")
    assert outline != "none", "the control has the focus and does not show it"


def faults(form: Page) -> set[str]:
    """What axe-core calls serious or critical, dark and light."""
    form.add_script_tag(path=AXE)
    found: set[str] = set()
    for palette in PALETTES:
        form.emulate_media(color_scheme=palette)
        found |= {f"{palette}: {fault}" for fault in form.evaluate(LOOK, "html")}
    return found


def test_a_template_renders_on_a_page_that_is_older_than_it(
    browser: Browser, port: ComfyUIProcess
) -> None:
    definitions = "**/object_info"

    def before_it(route: Route) -> None:
        """As it was before the template was published."""
        told = route.fetch().json()
        told.pop("TinyConditioning", None)
        models = told["UNETLoader"]["input"]["required"]["unet_name"]
        models[0] = [name for name in models[0] if "tiny" not in name]
        route.fulfill(json=told)

    page = ComfyPage(browser.contexts[0], port.url)
    page.tab.route(definitions, before_it)
    page.open()
    page.tab.unroute(definitions)
    page.show_panel()
    expect(page.find("aws-jobs-note")).to_contain_text("Open a template or a workflow")
    page.tab.locator(f"[data-testid=aws-template][data-name={NAME}]").click()
    expect(page.find("aws-target-template")).to_have_text(NAME)
    shown = page.tab.evaluate(
        """(ids) => ids.map((id) => window.app.graph.getNodeById(Number(id)).widgets
          .map(({ name, value, options }) => [name, value, options?.values ?? []]))""",
        [CONDITIONING_ID, "1"],
    )
    assert shown[0][0][:2] == ["text", "a small sun over the sea"]
    assert "tiny_sd3.safetensors" in shown[1][0][2]
    page.close()


def test_a_template_renders_and_runs_where_nothing_is_installed(artist: ComfyPage) -> None:
    artist.show_panel()
    artist.tab.locator(f"[data-testid=aws-template][data-name={NAME}]").click()
    artist.tab.wait_for_function(
        "(id) => window.app.graph.getNodeById(id)?.type === 'TinyConditioning'",
        arg=int(CONDITIONING_ID),
    )
    widgets = artist.tab.evaluate(
        """(id) => window.app.graph.getNodeById(id).widgets.map(
          ({ name, value, options }) => [name, value, options?.values ?? null])""",
        int(CONDITIONING_ID),
    )
    styles = list(json.loads(
        (PIPELINE / "node_packs/tiny_conditioning/styles.json").read_text()
    ))  # fmt: skip
    by_name = {name: (value, choices) for name, value, choices in widgets}
    assert by_name["text"][0] == "a small sun over the sea"
    assert by_name["style"] == ("plain", styles)
    models = artist.tab.evaluate("() => window.app.graph.getNodeById(1).widgets[0].options.values")
    assert "tiny_sd3.safetensors" in models
    artist.wait_for_image(LOAD_ID)  # which only the bucket has

    artist.record([SAMPLER_ID])
    artist.set_widget(SAMPLER_ID, "seed", 4711)
    prompt_id = artist.run()
    job = artist.tab.locator(f"[data-testid=aws-job][data-id='{prompt_id}']")
    expect(job).to_have_attribute("data-state", "succeeded", timeout=RUN_TIMEOUT_MS)
    artist.wait_for_image(SAVE_ID)
    assert artist.seen()["outlined"].get(SAMPLER_ID), "the sampler was not outlined"

    expect(job.get_by_test_id("aws-job-result")).to_be_visible()
    job.get_by_test_id("aws-job-more").click()
    expect(job.get_by_test_id("aws-job-log")).to_be_hidden()
    job.get_by_test_id("aws-job-again").click()
    again = artist.tab.locator("[data-testid=aws-job]").first
    expect(again).not_to_have_attribute("data-id", prompt_id)
    expect(again).to_have_attribute("data-state", "succeeded", timeout=RUN_TIMEOUT_MS)
    job.get_by_test_id("aws-job-load").click()
    artist.tab.wait_for_function(
        """(id) => window.app.graph.getNodeById(id)?.widgets
          .find(({ name }) => name === 'seed')?.value === 4711""",
        arg=int(SAMPLER_ID),
    )
    artist.tab.wait_for_function(
        "(id) => window.app.extensionManager.workflow.activeWorkflow.filename.includes(id)",
        arg=prompt_id[:4],
    )

    # The help of the node, with the picture in it, as ComfyUI's page shows it.
    artist.tab.evaluate(
        """(id) => {
          const { canvas, graph } = window.app
          const node = graph.getNodeById(id)
          canvas.centerOnNode(node)
          canvas.selectNodes([node])
        }""",
        int(CONDITIONING_ID),
    )
    artist.find("info-button").click()
    page = artist.tab.locator(".node-help-content")
    expect(page).to_contain_text("Turns a text, a seed and a style into conditioning")
    expect(page.locator("img")).to_have_js_property("naturalWidth", 96)


def test_a_port_shows_nothing_that_it_refuses(artist: ComfyPage) -> None:
    artist.show_panel()
    expect(artist.find("aws-template").first).to_be_visible()
    link = artist.find("aws-template-form").first
    expect(link).to_be_visible()
    assert "/aws/form?template=" in str(link.get_attribute("href"))
    expect(artist.find("aws-toggle")).to_be_checked()
    expect(artist.find("aws-toggle")).to_be_disabled()
    expect(artist.find("aws-toggle-text")).to_contain_text("Every run of this port goes to AWS")
    for name in ("new-workflow", "new-plus", "template-delete", "endpoints", "target-endpoint",
                 "target-warning", "target-cost", "stack-stop", "page-models", "page-logs",
                 "page-settings"):  # fmt: skip
        expect(artist.find(f"aws-{name}").locator("visible=true")).to_have_count(0)
    expect(artist.find("aws-jobs")).to_be_visible()


def test_a_form_runs_by_keyboard_on_a_phone(form: Page) -> None:
    expect(form.get_by_role("heading", name=NAME)).to_be_visible()
    for control, typed in (
        (form.get_by_label("Prompt", exact=True), "a red kite"),
        (form.locator(field(form, f"{SAMPLER_ID}.seed")).first, "99"),  # none anew, then
        (form.get_by_label("Steps"), "6"),
    ):
        tab_to(control)
        form.keyboard.press("Control+a")
        form.keyboard.type(typed)
    tab_to(form.get_by_test_id("aws-form-submit"))
    with form.expect_request(lambda request: request.url.endswith("/api/prompt")) as sent:
        form.keyboard.press("Enter")
    body = sent.value.post_data_json
    assert body["extra_data"]["aws"] == {"template": NAME}
    assert sent.value.headers["comfy-user"] == USER
    inputs = body["prompt"][SAMPLER_ID]["inputs"]
    assert (inputs["steps"], inputs["seed"], inputs["denoise"]) == (6, 99, 0.4)
    assert body["prompt"][CONDITIONING_ID]["inputs"]["text"] == "a red kite"

    run = form.get_by_test_id("aws-form-run")
    expect(run).to_have_attribute("data-state", "succeeded", timeout=RUN_TIMEOUT_MS)
    image = run.get_by_test_id("aws-form-image")
    expect(image).to_be_visible()
    assert image.evaluate("(image) => image.decode().then(() => image.naturalWidth)") == 128
    assert form.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]

    assert faults(form) == set()

    with form.expect_download() as saving:
        run.get_by_test_id("aws-form-save").click()
    assert saving.value.path().read_bytes().startswith(b"\x89PNG")

    # Tomorrow, when neither the tab nor ComfyUI's own history remembers it.
    form.request.post(f"{form.url.partition('/aws/')[0]}/history", data={"clear": True})
    form.evaluate("sessionStorage.clear()")
    form.reload()
    expect(form.get_by_test_id("aws-form-image")).to_be_visible()
    expect(form.get_by_label("Steps")).not_to_have_value("6")
    form.get_by_test_id("aws-form-again").click()
    expect(form.get_by_label("Steps")).to_have_value("6")
    expect(form.get_by_label("Prompt", exact=True)).to_have_value("a red kite")
    expect(form.locator(field(form, f"{SAMPLER_ID}.seed")).first).to_have_value("99")
    expect(form.locator(field(form, f"{SAMPLER_ID}.seed")).last).not_to_be_checked()


def test_a_form_keeps_what_was_typed_into_it(form: Page) -> None:
    prompt, steps = form.get_by_label("Prompt", exact=True), form.get_by_label("Steps")
    seed = form.locator(field(form, f"{SAMPLER_ID}.seed"))
    reset = form.get_by_test_id("aws-form-reset")
    expect(reset).to_be_hidden()
    published = [each.input_value() for each in (prompt, steps, seed.first)]
    typed = ["a red kite", "6", "99"]
    for control, value in zip((prompt, steps, seed.first), typed, strict=True):
        control.fill(value)
    form.locator(field(form, "3.image")).set_input_files(PIPELINE / "input/tiny_input.png")
    name = form.locator('[data-name="3.image"]').get_by_role("status")
    expect(name).to_have_text(re.compile(r"tiny_input.*\.png"))
    kept = name.text_content() or ""

    form.reload()
    form.get_by_role("link", name="All templates").click()
    form.get_by_role("link", name=NAME).click()
    for control, value in zip((prompt, steps, seed.first), typed, strict=True):
        expect(control).to_have_value(value)
    expect(seed.last).not_to_be_checked()
    expect(name).to_have_text(kept)

    reset.click()
    form.reload()
    expect(reset).to_be_hidden()
    for control, value in zip((prompt, steps, seed.first), published, strict=True):
        expect(control).to_have_value(value)
    expect(seed.last).to_be_checked()


def test_a_form_takes_a_picture_and_shows_progress(form: Page, tmp_path_factory) -> None:
    form.locator(field(form, "3.image")).set_input_files(
        {"name": "mine.png", "mimeType": "image/png",
         "buffer": (PIPELINE / "input/tiny_input.png").read_bytes()}
    )  # fmt: skip
    expect(form.locator("img.thumb")).to_be_visible()
    form.get_by_label("Steps").fill("400")
    form.get_by_test_id("aws-form-submit").click()
    run = form.get_by_test_id("aws-form-run").first
    expect(run).to_have_attribute("data-state", "running", timeout=RUN_TIMEOUT_MS)
    expect(run.get_by_test_id("aws-form-step")).to_have_text(re.compile(r"KSampler \d+/\d+"))
    expect(run.get_by_test_id("aws-form-preview")).to_be_visible()
    run.get_by_test_id("aws-form-cancel").click()
    expect(run).to_have_attribute("data-state", "cancelled")


def test_a_form_says_what_is_wrong_at_its_field(form: Page) -> None:
    steps, submit = form.get_by_label("Steps"), form.get_by_test_id("aws-form-submit")
    for typed, said in (("0", "At least 1."), ("", "Type a number."), ("2.5", "whole number")):
        steps.fill(typed)
        submit.click()
        expect(steps).to_have_attribute("aria-invalid", "true")
        expect(form.get_by_role("alert").locator("visible=true")).to_contain_text(said)
        expect(steps).to_be_focused()
    steps.fill("6")
    expect(form.get_by_role("alert").locator("visible=true")).to_have_count(0)
    steps.fill("0")
    submit.click()
    assert faults(form) == set()
    expect(form.get_by_test_id("aws-form-run")).to_have_count(0)


def test_of_many_settings_the_prompts_and_files_come_first(
    form: Page, port: ComfyUIProcess, designer: Designer
) -> None:
    designer.publish("Crowded", *load_crowded())
    form.goto(f"{port.url}/aws/form?template=Crowded")

    shown = form.get_by_test_id("aws-form-field").locator("visible=true")
    expect(shown.first).to_be_visible()
    assert {each.get_attribute("data-name") for each in shown.all()} == {
        f"{LOAD_ID}.image", f"{CONDITIONING_ID}.text", "5.text"}  # fmt: skip
    more = form.get_by_test_id("aws-form-more")
    tab_to(more.locator("summary"))
    form.keyboard.press("Enter")
    names = more.locator("label").all_text_contents()
    assert {"Steps · Day (1)", "Steps · Day (2)", "Steps · Night"} < set(names)
    assert all(names.count(name) == 1 for name in names if name != "A new one for each run")
    assert faults(form) == set()

    steps = form.get_by_label("Steps · Night")
    steps.fill("0")
    more.locator("summary").click()
    expect(steps).to_be_hidden()
    form.get_by_test_id("aws-form-submit").click()
    expect(steps).to_be_focused()
    expect(more.get_by_role("alert").locator("visible=true")).to_have_text("At least 1.")


def test_what_the_server_refuses_is_shown_in_the_form(form: Page, designer: Designer) -> None:
    # The template asks for a file that neither the port nor the bucket has.
    form.route("**/api/upload/image", lambda route: route.fulfill(
        json={"name": "gone.png", "subfolder": "", "type": "input"}))  # fmt: skip
    form.locator(field(form, "3.image")).set_input_files(
        {"name": "gone.png", "mimeType": "image/png", "buffer": b"x"}
    )
    form.get_by_test_id("aws-form-submit").click()
    expect(form.get_by_role("alert").locator("visible=true").first).to_contain_text("gone.png")

    waiting = hold(form, "**/api/prompt")
    submit = form.get_by_test_id("aws-form-submit")
    submit.click()
    expect(submit).to_have_text("Sending…")
    submit.click(force=True)
    eventually(lambda: form.wait_for_timeout(50) or waiting, "the run is sent")
    (sent,) = waiting
    sent.fulfill(status=502, body="<h1>no JSON</h1>")
    expect(form.get_by_test_id("aws-form-problem")).to_contain_text("status 502")
    expect(submit).to_have_text("Run")


def test_a_form_tells_a_failure_in_a_line_and_the_rest_on_demand(
    form: Page, designer: Designer
) -> None:
    designer.publish("Failing", filename_prefix="../../outside")
    form.goto(form.url.replace(NAME, "Failing"))
    form.get_by_test_id("aws-form-submit").click()
    run = form.get_by_test_id("aws-form-run")
    expect(run).to_have_attribute("data-state", "failed", timeout=RUN_TIMEOUT_MS)
    said, rest = run.get_by_test_id("aws-form-error"), run.get_by_test_id("aws-form-rest")
    expect(said).to_contain_text("outside the output folder")
    expect(said).not_to_contain_text("output_dir")
    expect(rest.get_by_text("output_dir")).to_be_hidden()
    rest.get_by_text("All that it said").click()
    expect(rest.get_by_text("output_dir")).to_be_visible()
    assert faults(form) == set()


def test_a_form_gives_files_that_no_node_shows(form: Page, designer: Designer) -> None:
    inputs = {"model": ["1", 0], "filename_prefix": "diffusion_models/kept"}
    designer.publish("Saving", {"20": {"class_type": "ModelSave", "inputs": inputs}})
    form.goto(form.url.replace(NAME, "Saving"))
    form.get_by_test_id("aws-form-submit").click()
    run = form.get_by_test_id("aws-form-run")
    expect(run).to_have_attribute("data-state", "succeeded", timeout=RUN_TIMEOUT_MS)
    expect(run.get_by_test_id("aws-form-image")).to_be_visible()
    expect(run.locator("[data-testid=aws-form-save][download^=kept_]")).to_be_visible()


def test_the_forms_are_listed(browser: Browser, port: ComfyUIProcess) -> None:
    context = browser.new_context(viewport=PHONE)
    tab = context.new_page()
    tab.route("**/api/aws/templates", lambda route: route.fulfill(status=500, body=""))
    tab.goto(f"{port.url}/aws/form")
    expect(tab.get_by_test_id("aws-form-problem")).to_contain_text("This page keeps trying.")
    tab.unroute("**/api/aws/templates")
    expect(tab.get_by_role("link", name=NAME)).to_be_visible()  # by itself
    assert faults(tab) == set()
    tab.get_by_role("link", name=NAME).click()
    expect(tab.get_by_label("Prompt", exact=True)).to_be_visible()
    tab.goto(f"{port.url}/aws/form?template=Nobody")
    expect(tab.get_by_test_id("aws-form-problem")).to_contain_text("no template named Nobody")
    context.close()


def test_a_run_before_the_first_answer_has_its_template(artist: ComfyPage) -> None:
    artist.tab.evaluate("(tab) => sessionStorage.setItem('aws.tab', tab)",
                        json.dumps({"template": NAME}))  # fmt: skip
    held = hold(artist.tab, "**/aws/status")
    artist.reload()
    with artist.tab.expect_request(lambda request: request.url.endswith("/api/prompt")) as sent:
        artist.tab.locator('[data-testid="queue-button"]').first.click()
        eventually(lambda: artist.tab.wait_for_timeout(50) or held, "the page asks what it is")
        artist.tab.wait_for_timeout(300)
        for route in held:
            route.continue_()
        artist.tab.unroute("**/aws/status")
    assert sent.value.post_data_json["extra_data"]["aws"] == {"template": NAME}


def test_the_picture_that_was_chosen_last_is_the_one_of_the_run(form: Page) -> None:
    held = hold(form, "**/api/upload/image")
    control = form.locator(field(form, "3.image"))
    for name in ("first.png", "second.png"):
        control.set_input_files(FilePayload(name=name, mimeType="image/png", buffer=b"png"))
    eventually(lambda: form.wait_for_timeout(50) or len(held) == 2, "both are on their way")
    note = form.locator("[data-testid=aws-form-field][data-name='3.image'] [role=status]")
    for route, name, said in zip(held, ("first.png", "second.png"), ("…", "second.png"),
                                 strict=True):  # fmt: skip
        with form.expect_response("**/api/upload/image"):
            route.fulfill(json={"name": name, "subfolder": ""})
        form.wait_for_timeout(100)
        expect(note).to_contain_text(said)


def test_a_run_ends_in_every_tab_that_shows_it(form: Page, port: ComfyUIProcess) -> None:
    form.get_by_label("Steps").fill("300")
    form.get_by_test_id("aws-form-submit").click()
    expect(form.get_by_test_id("aws-form-run").first).to_have_attribute(
        "data-state", "running", timeout=RUN_TIMEOUT_MS
    )
    other = form.context.new_page()
    held = hold(other, "**/aws/jobs?*")
    other.goto(form.url)
    eventually(lambda: other.wait_for_timeout(50) or held, "it asks what it has missed")
    answer = held[0].fetch()
    assert answer.json()["jobs"][0]["state"] == "running"
    run = other.get_by_test_id("aws-form-run").first
    expect(run).to_have_attribute("data-state", "running")
    expect(run).to_have_attribute("data-state", "succeeded", timeout=RUN_TIMEOUT_MS)
    expect(run.get_by_test_id("aws-form-image")).to_be_visible()
    # What was true when it was asked undoes nothing that was heard since.
    with other.expect_response("**/aws/jobs?*"):
        held[0].fulfill(response=answer)
    other.wait_for_timeout(200)
    expect(run).to_have_attribute("data-state", "succeeded")
    other.close()
