"""Names JSON that is of no form of annotations."""

from typing import Any

_KEYS = {
    "an export of VGG Image Annotator (VIA)": ("_via_img_metadata",),
    "a project of VIA": ("project", "metadata", "attribute"),
    "COCO's form": ("images", "categories"),
    "a file of predictions": ("results",),
    "Ego4D's form, which the dataset ego4d_mq reads": ("videos", "version"),
}


def described(content: Any) -> str:  # Any: parsed JSON
    """What the content of a JSON file probably is."""
    if isinstance(content, list):
        if any("timelinelabels" in str(record)[:10_000] for record in content[:10]):
            return "Label Studio's JSON-MIN; its export as JSON is read"
        return "a list without video, start, end and label" if content else "an empty list"
    if not isinstance(content, dict):
        return f"{content!r:.40}"
    for form, keys in _KEYS.items():
        if all(key in content for key in keys):
            return form
    return f"an object with {', '.join(sorted(map(str, content))[:5]) or 'nothing in it'}"
