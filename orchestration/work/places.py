"""Where work is to be done, by the names that operators use."""

from sqlmodel import Session

from fleet.organisations import Organisation, Site, organisation_named, site_named


def place(session: Session, organisation: str, site: str) -> tuple[Organisation, Site]:
    """The organisation and its site by name.

    Raises:
        NotFound: one of them is not there; names the known sites.
    """
    found = organisation_named(session, organisation)
    return found, site_named(session, found.id, site)
