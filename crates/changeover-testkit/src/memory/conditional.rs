//! The memory store as a key-value store: conditional puts, nothing else.

use async_trait::async_trait;
use changeover::StoreError;
use changeover::store::conditional::{Conditional, Token};
use changeover::value::{Key, Row};

use super::MemoryStore;

#[async_trait]
impl Conditional for MemoryStore {
    async fn get(&self, key: &Key) -> Result<(Option<Row>, Token), StoreError> {
        self.shared.suffer("get").await?;
        let at = self.shared.asked(&key.table)?;
        let sort = self.shared.tables[at].sort(key.values().to_vec());
        let state = self.state();
        let row = state.tables[at].rows.get(&sort).cloned();
        Ok((row, Token(state.tokens.get(key).copied().unwrap_or(0))))
    }

    async fn put_if(&self, key: &Key, row: Option<&Row>, token: Token) -> Result<Option<Token>, StoreError> {
        self.shared.suffer("put_if").await?;
        let at = self.shared.asked(&key.table)?;
        let sort = self.shared.tables[at].sort(key.values().to_vec());
        let put = {
            let mut state = self.state();
            let now = state.tokens.get(key).copied().unwrap_or(0);
            if now == token.0 {
                match row {
                    Some(row) => state.tables[at].put(sort, row.clone()),
                    None => {
                        state.tables[at].remove(&sort);
                    }
                }
                state.tokens.insert(key.clone(), now + 1);
                Some(Token(now + 1))
            } else {
                None
            }
        };
        if self.shared.loses_reply() { Err(self.shared.unreachable("put_if")) } else { Ok(put) }
    }
}
