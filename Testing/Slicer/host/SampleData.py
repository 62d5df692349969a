"""`SampleData`: registering data sets and finding them again; nothing is downloaded."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class SampleDataSource:
    """A registered data set."""

    sampleName: str
    category: str
    options: dict[str, object] = field(default_factory=dict)


class SampleDataLogic:
    """The registry of data sets by category."""

    sources: dict[str, list[SampleDataSource]] = {}

    @staticmethod
    def registerCustomSampleDataSource(
        category: str = "Custom",
        sampleName: str | None = None,
        uris: object = None,
        fileNames: object = None,
        nodeNames: object = None,
        customDownloader: object = None,
        thumbnailFileName: str | None = None,
        loadFileTypes: object = None,
        loadFiles: object = None,
        loadFileProperties: object = None,
        checksums: object = None,
    ) -> None:
        """Register a data set; a data set of the same name in the category is replaced."""
        options = {key: value for key, value in locals().items() if key not in ("category", "sampleName")}
        known = SampleDataLogic.sources.setdefault(category, [])
        known[:] = [source for source in known if source.sampleName != sampleName]
        known.append(SampleDataSource(sampleName or "", category, options))

    @staticmethod
    def sampleDataSourcesByCategory(category: str | None = None) -> object:
        """The registered data sets of a category, or of all categories by name."""
        return SampleDataLogic.sources if category is None else SampleDataLogic.sources.get(category, [])

    @staticmethod
    def sourceForSampleName(sampleName: str) -> SampleDataSource | None:
        """The registered data set of that name, None when there is none."""
        every = (source for sources in SampleDataLogic.sources.values() for source in sources)
        return next((source for source in every if source.sampleName == sampleName), None)
