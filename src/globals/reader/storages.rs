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
use crate::storage::{Content, Referred, Storage, StorageId};
use crate::tensor::layout::{Declared, View, row_major};
use crate::tensor::{Dtype, Tensor, Transform};

/// A row, and a slot of the table of numbers at its usual load.
const REFERRED_BYTES: u64 = 16 + 24;

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
        if self.is_meta(storage.id) {
            return Ok(Value::Absent(Absence::meta(Some(dtype), declared.shape)));
        }
        if transform.conj && dtype.parts() == 1 {
            return Err(error::tensor_invalid(&place, format!("a tensor of {} is conjugated", dtype.name())));
        }
        let view = View::new(declared, dtype.item_bytes(), storage.len, &place)?.based_at(storage.base);
        let transform = Transform { swap: storage.big_endian && dtype.item_bytes() > dtype.parts(), ..transform };
        let (view, bytes) = self.layouts.share(view);
        self.options.debit(bytes + size_of::<Tensor>() as u64).map_err(|e| e.at(&place))?;
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
            let stored = self.storage(tensor.storage);
            let whole = tensor.view.is_contiguous() && tensor.output_bytes() == stored.len && tensor.transform == Transform::default();
            if tensor.dtype != dtype || !whole {
                return Err(bad("are not of one dtype, or not in one piece themselves"));
            }
            len = len.saturating_add(stored.len);
            content.push((stored.content, stored.len));
        }
        let storage = self.own_storage(id, Content::Joined(content), len, place)?;
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
    pub(crate) fn own_storage(&mut self, node: NodeId, content: Content, len: u64, place: Place) -> Result<StorageView> {
        self.storage_of((node, None), content, len, place)
    }

    /// The same for an integer that is an argument of a call. One node may stand for all that are equal, so it is known by both.
    pub(crate) fn argument_storage(&mut self, call: NodeId, node: NodeId, content: Content, len: u64) -> Result<StorageView> {
        let place = self.place(node);
        self.storage_of((node, Some(call)), content, len, place)
    }

    fn storage_of(&mut self, owner: (NodeId, Option<NodeId>), content: Content, len: u64, place: Place) -> Result<StorageView> {
        let id = match self.node_storages.get(&owner) {
            Some(&id) => id,
            None => {
                let id = self.push_own(Storage { key: place.to_string(), len, head: 0, content, place, big_endian: false })?;
                self.node_storages.insert(owner, id);
                id
            }
        };
        Ok(StorageView { id, base: 0, len, class: StorageClass::Plain(Dtype::U8), big_endian: false })
    }

    /// Says how many bytes at the start of a storage are no data.
    pub(crate) fn set_head(&mut self, id: StorageId, bytes: u64) {
        if let Referred::Own(storage) = &mut self.storages[id.index()] {
            storage.head = bytes;
        }
    }

    pub(super) fn push_own(&mut self, storage: Storage) -> Result<StorageId> {
        self.options.debit((size_of::<Storage>() + storage.key.len() + 64) as u64)?;
        self.push_storage(Referred::Own(Box::new(storage)))
    }

    fn storage(&self, id: StorageId) -> Storage {
        self.document.referred(&self.storages[id.index()])
    }

    fn is_meta(&self, id: StorageId) -> bool {
        matches!(&self.storages[id.index()], Referred::Own(storage) if matches!(storage.content, Content::Meta))
    }

    pub(super) fn push_storage(&mut self, storage: Referred) -> Result<StorageId> {
        self.options.debit(REFERRED_BYTES)?;
        self.storages.push(storage);
        Ok(StorageId(self.storages.len() as u32 - 1)) // at most one per node
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
        let space = self.document.space_of(id);
        let number = self.document.spaces[space].find(key, &self.document.members);
        let number = number.ok_or_else(|| error::missing_entry(key, "holds the data of a tensor").at(&self.place(id)))?;
        self.stored(space, number, class)
    }

    /// The whole of a storage of the container.
    fn stored(&mut self, space: usize, number: u32, class: StorageClass) -> Result<StorageView> {
        let (of, key) = (&self.document.spaces[space], (space as u32, number)); // as many as files
        let id = match self.storage_ids.get(&key) {
            Some(&known) => known,
            None => {
                let new = self.push_storage(Referred::Stored(key.0, key.1))?;
                self.storage_ids.insert(key, new);
                new
            }
        };
        let (len, big_endian) = (of.len_of(number, &self.document.members), of.is_big_endian(number));
        Ok(StorageView { id, base: 0, len, class, big_endian })
    }

    pub(super) fn persistent(&mut self, id: NodeId, pid: NodeId) -> Result<Value> {
        let document = self.document;
        let Some(reference) = StorageRef::read(&document.graph, pid)? else { return Ok(Value::Inert) };
        let space = document.space_of(id);
        let whole = match document.spaces[space].find(&reference.key, &document.members) {
            Some(number) => self.stored(space, number, reference.class)?,
            // torch writes no member for a storage on the meta device.
            None if reference.location == "meta" => self.meta(id, space, &reference)?,
            None => return Err(error::missing_entry(&format!("data/{}", reference.key), "holds the data of a tensor").at(&self.place(id))),
        };
        if !self.is_meta(whole.id) && u128::from(whole.len) != reference.n_bytes() {
            return Err(error::storage_size(&self.place(id), &reference.key, whole.len, reference.n_bytes()));
        }
        let item = u64::from(reference.class.item_bytes());
        let Some((first, n)) = reference.view else { return Ok(Value::Storage(whole)) };
        let (from, len) = (u128::from(first) * u128::from(item), u128::from(n) * u128::from(item));
        if from + len > u128::from(whole.len) {
            let view = format!("a storage view of {n} elements from {first}");
            return Err(error::out_of_bounds(&self.place(id), &view, from + len, whole.len));
        }
        Ok(Value::Storage(StorageView { base: first * item, len: n * item, ..whole }))
    }

    fn meta(&mut self, id: NodeId, space: usize, reference: &StorageRef<'_>) -> Result<StorageView> {
        let len = u64::try_from(reference.n_bytes()).unwrap_or(u64::MAX);
        let key = (space, reference.key.to_string());
        let id = match self.meta_storages.get(&key) {
            Some(&known) => known,
            None => {
                let place = self.place(id);
                let storage = Storage { key: key.1.clone(), len, head: 0, content: Content::Meta, place, big_endian: false };
                let new = self.push_own(storage)?;
                self.meta_storages.insert(key, new);
                new
            }
        };
        Ok(StorageView { id, base: 0, len: self.storage(id).len, class: reference.class, big_endian: false })
    }
}
