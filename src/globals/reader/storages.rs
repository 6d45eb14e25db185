//! The tensors that a reader has made, and the storages that they are views of: those that persistent ids name, those that a
//! container describes, those that belong to a node itself.

use crate::container::{GivenTensor, StorageClass, StorageRef};
use crate::error::{self, Result};
use crate::globals::paddle;
use crate::globals::reader::Reader;
use crate::globals::value::{Absence, StorageView, TensorId, Value};
use crate::pickle::{Blob, NodeId};
use crate::place::Place;
use crate::source::Region;
use crate::storage::{Content, Storage, StorageId};
use crate::tensor::layout::{Declared, View, row_major};
use crate::tensor::{Dtype, Tensor, Transform};

impl Reader<'_> {
    /// Makes a tensor of a declared view of a storage, for the node `id`.
    pub(crate) fn tensor(
        &mut self,
        id: NodeId,
        storage: &StorageView,
        dtype: Dtype,
        declared: &Declared<'_>,
        transform: Transform,
    ) -> Result<Value> {
        let place = self.place(id);
        let stored = &self.storages[storage.id.index()];
        if matches!(stored.content, Content::Meta) {
            return Ok(Value::Absent(Absence::meta(Some(dtype), declared.shape)));
        }
        if transform.conj && dtype.parts() == 1 {
            return Err(error::tensor_invalid(&place, format!("a tensor of {} is conjugated", dtype.name())));
        }
        let view = View::new(declared, dtype.item_bytes(), storage.len, &place)?.based_at(storage.base);
        let transform = Transform { swap: storage.big_endian && dtype.item_bytes() > dtype.parts(), ..transform };
        let tensor = Tensor { dtype, storage: storage.id, view, transform, place };
        self.add(tensor).map(Value::Tensor)
    }

    fn add(&mut self, tensor: Tensor) -> Result<TensorId> {
        self.options.limits.tensors(self.tensors.len() as u64 + 1)?;
        self.tensors.push(tensor);
        Ok(TensorId(self.tensors.len() as u32 - 1)) // limited above
    }

    pub(crate) fn tensor_mut(&mut self, id: TensorId) -> &mut Tensor {
        &mut self.tensors[id.index()]
    }

    /// The tensor that flat pieces make one after another.
    ///
    /// # Errors
    /// `tensor-invalid` when they are not of one dtype, or not contiguous; `tensor-out-of-bounds` when they are too few.
    pub(crate) fn joined(&mut self, id: NodeId, pieces: &[TensorId], shape: &[i64]) -> Result<Value> {
        let place = self.place(id);
        let bad = |what: &str| error::tensor_invalid(&place, format!("pieces of a tensor {what}"));
        let first = pieces.first().ok_or_else(|| bad("are missing"))?;
        let dtype = self.tensor_ref(*first).dtype;
        let mut content = Vec::new();
        let mut len = 0u64;
        for &piece in pieces {
            let tensor = self.tensor_ref(piece);
            let stored = &self.storages[tensor.storage.index()];
            let whole = tensor.view.is_contiguous() && tensor.output_bytes() == stored.len && tensor.transform == Transform::default();
            if tensor.dtype != dtype || !whole {
                return Err(bad("are not of one dtype, or not in one piece themselves"));
            }
            len = len.saturating_add(stored.len);
            content.push((stored.content.clone(), stored.len));
        }
        let storage = self.own_storage(id, Content::Joined(content), len, place);
        let strides = row_major(shape);
        let declared = Declared { shape, strides: &strides, offset: 0, step_bytes: dtype.item_bytes() };
        let value = self.tensor(id, &storage, dtype, &declared, Transform::default())?;
        if let Value::Tensor(tensor) = value
            && self.tensor_ref(tensor).output_bytes() != len
        {
            return Err(error::storage_size(&self.place(id), "of a tensor in pieces", len, self.tensor_ref(tensor).output_bytes().into()));
        }
        let mut value = value;
        if self.is_paddle(id) && dtype == Dtype::BF16 {
            if let Value::Tensor(tensor) = value {
                self.tensor_mut(tensor).dtype = Dtype::U16;
            }
            value = paddle::as_bfloat16(self, value);
        }
        Ok(value)
    }

    pub(crate) fn tensor_ref(&self, id: TensorId) -> &Tensor {
        &self.tensors[id.index()]
    }

    /// A storage of its own for the bytes of an array, made once for each node that holds them.
    pub(crate) fn own_storage(&mut self, node: NodeId, content: Content, len: u64, place: Place) -> StorageView {
        let id = match self.node_storages.get(&node) {
            Some(&id) => id,
            None => {
                let id = self.push_storage(Storage { key: place.to_string(), len, head: 0, content, place, big_endian: false });
                self.node_storages.insert(node, id);
                id
            }
        };
        StorageView { id, base: 0, len, class: StorageClass::Plain(Dtype::U8), big_endian: false }
    }

    /// Says how many bytes at the start of a storage are no data.
    pub(crate) fn set_head(&mut self, id: StorageId, bytes: u64) {
        self.storages[id.index()].head = bytes;
    }

    pub(super) fn push_storage(&mut self, storage: Storage) -> StorageId {
        self.storages.push(storage);
        StorageId(self.storages.len() as u32 - 1) // at most one per node
    }

    /// The bytes of a blob; those that stand in the stream are read from the file by position when they are written.
    pub(crate) fn blob_region(&self, blob: Blob) -> Region {
        let stream = &self.document.streams[blob.stream()].bytes;
        let in_stream = blob.stream_offset().and_then(|at| stream.slice(at, blob.len()));
        in_stream.unwrap_or_else(|| Region::memory(self.graph().blob_shared(blob)))
    }

    pub(super) fn given_tensor(&mut self, id: NodeId, tensor: &GivenTensor) -> Result<Value> {
        let storage = self.given_storage(id, &tensor.storage, tensor.class)?;
        let Some(dtype) = tensor.dtype.or(tensor.class.dtype()) else {
            return Ok(Value::Unsupported(self.unsupported(id, "a plain tensor over a quantized storage")));
        };
        let GivenTensor { shape, strides, offset, .. } = tensor;
        self.tensor(
            id,
            &storage,
            dtype,
            &Declared { shape, strides, offset: *offset, step_bytes: dtype.item_bytes() },
            Transform::default(),
        )
    }

    pub(super) fn given_storage(&mut self, id: NodeId, key: &str, class: StorageClass) -> Result<StorageView> {
        let space = self.document.streams[self.graph().stream_of(id)].space;
        let stored = self.document.spaces[space].get(key);
        let stored = stored.ok_or_else(|| error::missing_entry(key, "holds the data of a tensor").at(&self.place(id)))?;
        let key = (space, key.to_owned());
        let known = self.storage_ids.get(&key).copied();
        let storage = known.unwrap_or_else(|| {
            let new = self.push_storage(stored.clone());
            self.storage_ids.insert(key, new);
            new
        });
        Ok(StorageView { id: storage, base: 0, len: stored.len, class, big_endian: stored.big_endian })
    }

    pub(super) fn persistent(&mut self, id: NodeId, pid: NodeId) -> Result<Value> {
        let Some(reference) = StorageRef::read(self.graph(), pid)? else { return Ok(Value::Inert) };
        let space = self.document.streams[self.graph().stream_of(id)].space;
        let key = (space, reference.key.clone());
        let storage_id = match self.storage_ids.get(&key) {
            Some(&known) => known,
            None => {
                let storage = self.stored(id, space, &reference)?;
                let new = self.push_storage(storage);
                self.storage_ids.insert(key, new);
                new
            }
        };
        let storage = &self.storages[storage_id.index()];
        let meta = matches!(storage.content, Content::Meta);
        if !meta && u128::from(storage.len) != reference.n_bytes() {
            return Err(error::storage_size(&self.place(id), &reference.key, storage.len, reference.n_bytes()));
        }
        let item = u64::from(reference.class.item_bytes());
        let (base, len) = match reference.view {
            None => (0, storage.len),
            Some((first, n)) => {
                let (from, len) = (u128::from(first) * u128::from(item), u128::from(n) * u128::from(item));
                if from + len > u128::from(storage.len) {
                    let view = format!("a storage view of {n} elements from {first}");
                    return Err(error::out_of_bounds(&self.place(id), &view, from + len, storage.len));
                }
                (first * item, n * item)
            }
        };
        let big_endian = storage.big_endian;
        Ok(Value::Storage(StorageView { id: storage_id, base, len, class: reference.class, big_endian }))
    }

    fn stored(&self, id: NodeId, space: usize, reference: &StorageRef) -> Result<Storage> {
        if let Some(storage) = self.document.spaces[space].get(&reference.key) {
            return Ok(storage.clone());
        }
        let place = self.place(id);
        // torch writes no member for a storage on the meta device.
        if reference.location == "meta" {
            let len = u64::try_from(reference.n_bytes()).unwrap_or(u64::MAX);
            return Ok(Storage { key: reference.key.clone(), len, head: 0, content: Content::Meta, place, big_endian: false });
        }
        Err(error::missing_entry(&format!("data/{}", reference.key), "holds the data of a tensor").at(&place))
    }
}
