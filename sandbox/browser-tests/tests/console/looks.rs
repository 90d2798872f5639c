//! Sizes, colors and names.

use crate::{
    browser::Page,
    pipeline,
    support::{Tested, ensure, test},
};
use libtest_mimic::Trial;

pub(crate) fn tests() -> Vec<Trial> {
    vec![test("every view is readable, light and dark, from a phone to a large screen", looks)]
}

const SIZES: [(i64, i64); 3] = [(1280, 800), (390, 844), (1920, 1080)];

/// Controls without a name that a screen reader can say.
const NAMELESS: &str = "[...document.querySelectorAll('a, button, input, select, textarea, summary, [role=grid], [role=treegrid], [role=img]')] \
    .filter((one) => one.getClientRects().length && !(one.getAttribute('aria-label') || one.textContent.trim() || one.labels?.length || one.querySelector('title'))) \
    .map((one) => one.outerHTML.slice(0, 200))";

/// Texts with less contrast to their background than WCAG's level AA asks for: 4.5, or 3 for large ones.
const PALE: &str = "(() => { \
    const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true }); \
    const rgba = (color) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); \
        const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255]; }; \
    const over = (top, under) => [0, 1, 2].map((at) => top[at] * top[3] + under[at] * (1 - top[3])).concat(1); \
    const behind = (element) => { const layers = []; \
        for (let at = element; at; at = at.parentElement) { const layer = rgba(getComputedStyle(at).backgroundColor); if (layer[3] > 0) layers.push(layer); if (layer[3] === 1) break; } \
        return layers.reverse().reduce((under, top) => over(top, under), rgba(getComputedStyle(document.body).backgroundColor)); }; \
    const light = ([r, g, b]) => { const [x, y, z] = [r, g, b].map((one) => { const part = one / 255; return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4; }); return 0.2126 * x + 0.7152 * y + 0.0722 * z; }; \
    const pale = []; \
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT); \
    while (walker.nextNode()) { \
        const element = walker.currentNode.parentElement; \
        if (!walker.currentNode.data.trim() || !element.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true }) || element.closest('svg, option, .unseen, .other')) continue; \
        const style = getComputedStyle(element); \
        const under = behind(element); \
        const [a, b] = [light(over(rgba(style.color), under)), light(under)].sort((a, b) => b - a); \
        const ratio = (a + 0.05) / (b + 0.05); \
        const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && Number(style.fontWeight) >= 700); \
        if (ratio < (large ? 3 : 4.5)) pale.push(`${ratio.toFixed(2)} ${element.className} ${walker.currentNode.data.slice(0, 40)}`); \
    } \
    return [...new Set(pale)]; })()";

async fn looks() -> Tested {
    let (example, url) = pipeline::start().await?;
    let page = Page::open(&url).await?;
    page.wait("document.querySelectorAll('.grid.traces .row').length === 6").await?;
    let trace: String = page.value("[...document.querySelectorAll('.grid.traces .row')].find((row) => row.querySelector('.badge.fault')).querySelector('a').hash").await?;
    let views = [
        ("traces", "#/traces", ".grid.traces .row"),
        ("trace", trace.as_str(), ".waterfall .row"),
        ("map", "#/map", ".node"),
        ("environments", "#/environments", ".lane"),
        ("logs", "#/logs", ".grid.logs .row"),
        ("messages", "#/messages", ".grid.messages .row"),
        ("send", "#/send", "#payload"),
    ];
    let mut wrong = Vec::new();
    for theme in ["light", "dark"] {
        page.theme(theme).await?;
        for (width, height) in SIZES {
            page.size(width, height).await?;
            for (name, hash, there) in views {
                page.go(hash).await?;
                page.wait(&format!("document.querySelector('{there}')")).await?;
                if name == "trace" {
                    page.run("[...document.querySelectorAll('.waterfall .row.fault')][0].click()").await?;
                    page.wait("document.querySelector('.exception')").await?;
                }
                page.picture(&format!("{name}-{width}-{theme}")).await?;
                let place = format!("{name} at {width}, {theme}");
                let pale: Vec<String> = page.value(PALE).await?;
                let nameless: Vec<String> = page.value(NAMELESS).await?;
                // The page as a whole does not scroll to the side.
                let wide: i64 = page.value("document.documentElement.scrollWidth - document.documentElement.clientWidth").await?;
                wrong.extend(pale.into_iter().map(|one| format!("{place}: contrast {one}")));
                wrong.extend(nameless.into_iter().map(|one| format!("{place}: no name: {one}")));
                if wide > 0 {
                    wrong.push(format!("{place}: {wide} px too wide"));
                }
            }
        }
    }
    ensure(wrong.is_empty(), wrong.join("\n"))?;
    page.close().await?;
    pipeline::end(example).await
}
