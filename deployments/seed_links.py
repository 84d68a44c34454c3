"""How the seeded robots are commanded: over ROS 2, the last one over VDA 5050 where there is a broker, by one gateway."""

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlmodel import Session, col, select

from deployments.links import GATEWAY, Links
from fleet.accounts import ManufacturerAccount
from fleet.adapter import DiscoveredRobot
from fleet.adapters.simulated import ros2_interface, vda5050_interface
from fleet.adapters.simulated.site_map import vehicles
from fleet.gateways import Gateway, GatewayAccount, add_gateway, gateway_of, renew_token
from fleet.organisations import Site, principal_of
from fleet.robots import Robot

ROS2_ACCOUNT, VDA5050_ACCOUNT = "north-plant robots", "north-plant vehicles"


def seed_links(
    session: Session, site: Site, links: Links, robots: Sequence[DiscoveredRobot], *, known: str, now: datetime
) -> str:
    """Accounts, addresses and a gateway for the robots of the site; gives the gateway's token (`known` if it still opens)."""
    ros2 = _account(session, site, ROS2_ACCOUNT, now, ("ros2", links.ros2_url, ros2_interface.account_options()))
    accounts = [ros2]
    if links.mqtt_url:
        vda5050 = ("vda5050", links.mqtt_url, vda5050_interface.account_options())
        accounts.append(_account(session, site, VDA5050_ACCOUNT, now, vda5050))
    spoken = vehicles(robots, links.mqtt_url)
    for robot in robots:
        if robot in spoken:
            _command_over(session, site, robot, accounts[-1], f"{vda5050_interface.MANUFACTURER}/{robot.serial_number}")
        else:
            _command_over(session, site, robot, ros2, ros2_interface.namespace_of(robot))
    return _gateway_token(session, site, accounts, known=known, now=now)


def _account(
    session: Session, site: Site, name: str, now: datetime, reached: tuple[str, str, Mapping[str, object]]
) -> ManufacturerAccount:
    manufacturer, url, options = reached
    mine = (ManufacturerAccount.organisation_id == site.organisation_id, ManufacturerAccount.name == name)
    row = session.exec(select(ManufacturerAccount).where(*mine)).first()
    if row is None:
        row = ManufacturerAccount(
            organisation_id=site.organisation_id,
            name=name,
            manufacturer=manufacturer,
            base_url=url,
            webhook_secret=f"whsec_{secrets.token_urlsafe(24)}",
            created_at=now,
        )
    row.base_url, row.options = url, dict(options)
    session.add(row)
    session.flush()
    return row


def _command_over(
    session: Session, site: Site, robot: DiscoveredRobot, account: ManufacturerAccount, address: str
) -> None:
    mine = (Robot.organisation_id == site.organisation_id, Robot.name == robot.name)
    row = session.exec(select(Robot).where(*mine)).one()
    row.link_account_id, row.link_address = account.id, address
    session.add(row)
    session.flush()


def _gateway_token(
    session: Session, site: Site, accounts: Sequence[ManufacturerAccount], *, known: str, now: datetime
) -> str:
    mine = (Gateway.organisation_id == site.organisation_id, Gateway.name == GATEWAY)
    row = session.exec(select(Gateway).where(*mine)).first()
    if row is None:
        return add_gateway(session, site, GATEWAY, accounts, now=now)[1]
    served = set(session.exec(select(col(GatewayAccount.account_id)).where(GatewayAccount.gateway_id == row.id)).all())
    session.add_all(
        GatewayAccount(gateway_id=row.id, account_id=account.id, organisation_id=row.organisation_id)
        for account in accounts
        if account.id not in served
    )
    principal = principal_of(session, known) if known else None
    if principal is not None and gateway_of(session, principal) == row:
        return known
    return renew_token(session, row, now=now)
